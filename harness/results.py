"""A run's folder: what was asked, each point's result as it ends, and the summary of all.

Every file is written beside its place and moved there, so that a reader never sees half a file; `summary.csv` only
repeats what `points/*.json` say. So a run that was cut off anywhere can be read, and gone on with.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from harness.atomic import write_whole
from harness.pairing import Block
from strategies.errors import UserError

COLUMNS = (
    *("point", "strategy", "variant", "model", "data", "device", "dtype", "batch", "objects", "refs", "targets"),
    *("status", "reason", "fps", "objects_per_s", "encode_fps", "bank_s", "setup_s", "sdpa"),
    *("reference", "speedup", "speedup_lo", "speedup_hi", "verdict", "blocks", "converged"),
    *("iou_mean", "iou_p1", "iou_min", "max_abs_dlogit", "gate_flips", "pick_flips", "j", "f", "jf"),
    *("peak_rss_mb", "cpu_s_per_1000", "vram_peak_mb", "vram_reserved_mb", "vram_device_mb"),
    *("gpu_util_mean", "gpu_power_w", "energy_j_per_1000", "gpu_temperature_c", "gpu_clock_mhz"),
    *("throttle", "foreign_processes"),
    *("gflop_per_target", "gflop_per_s", "matrix_gflop_per_s", "matrix_share", "projected_min", "repeat", "command"),
)
"""Of summary.csv, in order; README says what each means."""

STATUSES = ("ok", "oom", "timeout", "crash", "wrong", "skipped")
SPEEDUP = ("speedup", "speedup_lo", "speedup_hi", "verdict")
"""Columns that a point has only if its masks are right."""


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
        """As `asdict` gave it. ValueError where it is no result."""
        try:
            return PointResult(
                row=content["row"],
                config=content["config"],
                samples=[Block(**block) for block in content["samples"]],
                details=content["details"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a result: {error}") from error


class RunFolder:
    """Writes one run, a new one or one that was begun; points ``latest`` beside it at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "points").mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, dict[str, Any]] = {}
        self._identities: dict[str, Mapping[str, str]] = {}
        for stored in sorted((path / "points").glob("*.json"), key=lambda file: file.stat().st_mtime):
            self._read(stored)
        _point_latest(path)

    def _read(self, stored: Path) -> None:
        """A file that is damaged is as good as none: its point will be measured again."""
        try:
            content = json.loads(stored.read_text(encoding="utf-8"))
            name = PointResult.from_json(content).row["point"]
        except (OSError, ValueError, KeyError, AttributeError):
            return
        self._rows[name] = content["row"]
        self._identities[name] = content.get("identity", {})

    def write_json(self, name: str, content: object) -> None:
        _write(self.path / name, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def add(self, result: PointResult, identity: Mapping[str, str] | None = None) -> None:
        """Store a point's result, then the summary that includes it.

        identity: hashes of what the result depends on, by which `finished` knows it again.
        """
        name = result.row["point"]
        self.write_json(f"points/{name}.json", {"identity": identity or {}, **asdict(result)})
        self._rows[name] = result.row
        self._identities[name] = identity or {}
        self.write_summary()

    def write_summary(self) -> None:
        _write(self.path / "summary.csv", _csv(self._rows.values()))

    def finished(self, name: str, identity: Mapping[str, str]) -> bool:
        """Whether there is an ``ok`` result of the point, of the same options, code and environment."""
        return name in self._rows and self._rows[name]["status"] == "ok" and self._identities[name] == identity

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._rows.values())


def _finite(content: object) -> object:
    """The same with null for numbers that JSON can't hold: infinities and NaN, as masks that overflowed give."""
    match content:
        case float():
            return content if math.isfinite(content) else None
        case dict():
            return {key: _finite(value) for key, value in content.items()}
        case list() | tuple():
            return [_finite(value) for value in content]
    return content


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except UserError as error:
        raise UserError(
            f"{error}; what is finished stays there: mend it and give the same command again with resume=true"
        ) from error


def _point_latest(path: Path) -> None:
    """Best effort: a file system without links, or a folder of that name, leaves no link."""
    partial = path.parent / f".latest-{path.name}"
    with suppress(OSError):
        partial.unlink(missing_ok=True)  # of a run that was killed here
        partial.symlink_to(path.name)
        try:
            partial.replace(path.parent / "latest")
        except OSError:
            partial.unlink()
