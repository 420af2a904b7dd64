"""How one grid point ended: its row, its timed blocks and everything else that was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

SideName = Literal["baseline", "candidate"]
SIDES: dict[str, SideName] = {"baseline": "baseline", "candidate": "candidate", "reference": "baseline"}
"""By the names that files hold; a baseline strategy was called a reference before."""

COLUMNS = (
    *("point", "strategy", "variant", "model", "data", "device", "dtype", "batch", "objects", "refs", "targets"),
    *("status", "reason", "fps", "objects_per_s", "encode_fps", "bank_s", "setup_s", "sdpa"),
    *("reference", "speedup", "speedup_lo", "speedup_hi", "verdict", "blocks", "converged"),
    *("iou_mean", "iou_p1", "iou_min", "max_abs_dlogit", "gate_flips", "pick_flips", "j", "f", "jf"),
    *("peak_rss_mb", "cpu_s_per_1000", "vram_peak_mb", "vram_reserved_mb", "vram_device_mb"),
    *("gpu_util_mean", "gpu_power_w", "energy_j_per_1000", "gpu_temperature_c", "gpu_clock_mhz"),
    *("throttle", "foreign_processes"),
    *(
        "gflop_per_target",
        "gflop_per_s",
        "matrix_gflop_per_s",
        "matrix_share",
        "projected_min",
        "repeat",
        "options",
        "command",
    ),
)
"""Of summary.csv, in order; README says what each means."""

STATUSES = ("ok", "oom", "timeout", "crash", "wrong", "skipped")
SPEEDUP = ("speedup", "speedup_lo", "speedup_hi", "verdict")
"""Columns that a point has only if its masks are right."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One timed pass; ``place`` is its place in its round, ``cpu_seconds`` the process's CPU time meanwhile."""

    group: str
    round: int
    place: int
    side: SideName
    targets: int
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """How one grid point ended.

    row: values of `COLUMNS`; what was not measured is missing. config: the point's resolved options. samples: every
    timed block, in order. details: per-object agreement and scores, what was warmed up, sampled series and so on.
    A result that is fast but wrong can't be made: ValueError.
    """

    row: dict[str, Any]
    config: dict[str, Any]
    samples: list[Block] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.row) - set(COLUMNS)
        if unknown or self.row.get("status") not in STATUSES or not isinstance(self.row.get("point"), str):
            raise ValueError(f"not a result row: {self.row}")
        if self.row["status"] != "ok" and any(self.row.get(column) is not None for column in SPEEDUP):
            raise ValueError(f"a point that is {self.row['status']} has no speed-up: {self.row}")

    @staticmethod
    def from_json(content: dict[str, Any]) -> PointResult:
        """As `asdict` gave it, now or when the baseline was called the reference. ValueError where it is no result."""
        try:
            return PointResult(
                row=content["row"],
                config=content["config"],
                samples=[Block(**block | {"side": SIDES[block["side"]]}) for block in content["samples"]],
                details=content["details"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a result: {error}") from error
