"""The row of summary.csv that a grid point ends with: its columns, with their types, units, formats and meanings.

Whatever shows, checks or explains a column derives it from `Row`: the summary, the terminal's table, the report's types
and numbers, and the reference documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from harness.stats.speedup import Verdict

Status = Literal["ok", "oom", "timeout", "crash", "wrong", "skipped"]
Masks = Literal["same", "differ"]
STATUSES: tuple[Status, ...] = get_args(Status)
SPEEDUP = ("speedup", "speedup_lo", "speedup_hi", "verdict")
"""Columns that a point has only if its masks are right."""


def _column(help: str, *, unit: str = "", format: str = "", identifies: bool = False, default: Any = MISSING) -> Any:
    """Return a field of `Row`; `Column` explains what is said of it."""
    metadata = {"unit": unit, "format": format, "help": help, "identifies": identifies}
    return field(default=default, metadata=metadata)


def _measured(help: str, *, unit: str = "", format: str = "") -> Any:
    """Return a field of `Row` that is None where it was not measured."""
    return _column(help, unit=unit, format=format, default=None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a grid point was and what was found of it; None is what was not measured.

    Raises ValueError for a value that its column can't hold, and for a speed-up of a point that is not ok.
    """

    point: str = _column(
        "The point has this name: strategy, variant, batch, objects, and a hash of all options that decide what "
        "is measured."
    )
    strategy: str = _column("The strategy has this name in `conf/strategy/`.", identifies=True)
    variant: str = _column(
        "The strategy's own options are set like this: a switch that is on stands by its name, others by their value.",
        identifies=True,
    )
    model: str = _column("The model has this name in `conf/model/`.", identifies=True)
    data: str = _column("The data source has this name in `conf/data/`.", identifies=True)
    device: str | None = _measured("The GPU or the CPU that the point ran on has this name.")
    dtype: str = _column("The model computes in this dtype.", identifies=True)
    batch: int = _column(
        "The strategy predicts this many targets at once.", unit="targets", format=".0f", identifies=True
    )
    objects: int | None = _column(
        "The group with the most objects has this many.", unit="objects", format=".0f", identifies=True, default=None
    )
    refs: int | None = _column(
        "The group with the most reference frames has this many.",
        unit="frames",
        format=".0f",
        identifies=True,
        default=None,
    )
    targets: int | None = _column(
        "All groups together have this many target frames.", unit="frames", format=".0f", identifies=True, default=None
    )
    status: Status = _column("The point ended in this way, see Statuses.")
    reason: str | None = _measured("This is why the status is not `ok`, or why a point that is `ok` has no speed-up.")
    fps: float | None = _measured(
        "The prediction stage does this many targets per second of wall clock, by the median block of each group.",
        unit="targets/s",
        format=".1f",
    )
    objects_per_s: float | None = _measured(
        "The prediction stage does this many (target, object) pairs per second.", unit="pairs/s", format=".1f"
    )
    encode_fps: float | None = _measured(
        "The vision encoder's stage does this many frames per second, from the first file read to the last "
        "feature on disk; all strategies share it.",
        unit="frames/s",
        format=".1f",
    )
    bank_s: float | None = _measured(
        "Building a group's memory bank takes this long; the cell is empty for a strategy that builds it for "
        "every target, whose `fps` includes it.",
        unit="s",
        format=".3f",
    )
    setup_s: float | None = _measured(
        "Starting the point's process and loading everything takes this long; it is never inside the clock.",
        unit="s",
        format=".1f",
    )
    sdpa: str | None = _measured(
        "These attention kernels of torch ran in one batch, the most frequent first; of compiled code they are "
        "all but `math`, which the compiler takes apart."
    )
    reference: str | None = _measured(
        "This is the baseline strategy that `speedup` is over; the cell is empty where a point is timed alone."
    )
    speedup: float | None = _measured(
        "The baseline strategy takes this many times as long as this strategy, by the median of paired rounds; "
        "the cell is empty unless the status is `ok`.",
        unit="ratio",
        format=".2f",
    )
    speedup_lo: float | None = _measured(
        "The 95 % bootstrap interval of `speedup` begins here.", unit="ratio", format=".2f"
    )
    speedup_hi: float | None = _measured(
        "The 95 % bootstrap interval of `speedup` ends here.", unit="ratio", format=".2f"
    )
    verdict: Verdict | None = _measured(
        "The point is the `same` where the whole interval is within `timing.same` of 1, `faster` or `slower` "
        "where all of it is on one side of 1, else `unclear`."
    )
    blocks: int | None = _measured("This many passes were timed, of both sides together.", unit="blocks", format=".0f")
    converged: bool | None = _measured(
        "The interval became (`True`) or did not become (`False`) as narrow as `timing.width` asks for before "
        "`timing.max_seconds` were over."
    )
    masks: Masks | None = _measured(
        "The masks count as those of `sequential` on the same targets (`same`) or they do not (`differ`); the "
        "rule is that for exact strategies, which allows for float noise, whichever strategy it is."
    )
    iou_mean: float | None = _measured(
        "The masks have this mean IoU, over all pairs, with those of `sequential` on the same targets.",
        unit="0 to 1",
        format=".4f",
    )
    iou_p1: float | None = _measured("This is the first percentile of the same IoU.", unit="0 to 1", format=".4f")
    iou_min: float | None = _measured("The worst pair has this IoU.", unit="0 to 1", format=".4f")
    max_abs_dlogit: float | None = _measured(
        "The logits of masks differ from those of `sequential` by no more than this, over pairs in which both "
        "sides see the object.",
        unit="logits",
        format=".1e",
    )
    gate_flips: int | None = _measured(
        "The object-score gate came out differently in this many pairs; a point is `wrong` where one was no near tie.",
        unit="pairs",
        format=".0f",
    )
    pick_flips: int | None = _measured(
        "Another one of the candidate masks was the best in this many pairs; a point is `wrong` where one was no "
        "near tie.",
        unit="pairs",
        format=".0f",
    )
    j: float | None = _measured(
        "The masks have this region similarity with the ground truth: the IoU, mean over frames, then objects.",
        unit="0 to 1",
        format=".3f",
    )
    f: float | None = _measured(
        "The masks have this boundary measure with the ground truth, mean over frames, then objects.",
        unit="0 to 1",
        format=".3f",
    )
    jf: float | None = _measured("This is the mean of `j` and `f`.", unit="0 to 1", format=".3f")
    peak_rss_mb: float | None = _measured(
        "The point's process had this much memory at its peak while the strategy worked alone, model included.",
        unit="MiB",
        format=".0f",
    )
    cpu_s_per_1000: float | None = _measured(
        "The strategy takes this much CPU time, of all cores, for 1,000 targets.", unit="s", format=".2f"
    )
    vram_peak_mb: float | None = _measured(
        "Torch's allocator gave out this much GPU memory at its peak.", unit="MiB", format=".0f"
    )
    vram_reserved_mb: float | None = _measured(
        "Torch's allocator held this much GPU memory at its peak.", unit="MiB", format=".0f"
    )
    vram_device_mb: float | None = _measured(
        "The GPU had this much memory in use at its peak, less what was in use before the point.",
        unit="MiB",
        format=".0f",
    )
    gpu_util_mean: float | None = _measured(
        "Any kernel ran on the GPU for this share of the time, by NVML, on average while the strategy ran alone.",
        unit="%",
        format=".0f",
    )
    gpu_power_w: float | None = _measured(
        "The GPU drew this power, by NVML, on average while the strategy ran alone.", unit="W", format=".0f"
    )
    energy_j_per_1000: float | None = _measured(
        "The GPU takes this much energy, by NVML, for 1,000 targets.", unit="J", format=".1f"
    )
    gpu_temperature_c: float | None = _measured(
        "The GPU reached this temperature, by NVML, while the strategy ran alone.", unit="°C", format=".0f"
    )
    gpu_clock_mhz: float | None = _measured(
        "The GPU's multiprocessors ran at this clock, by NVML, on average while the strategy ran alone.",
        unit="MHz",
        format=".0f",
    )
    throttle: str | None = _measured(
        "The GPU's clocks were held down by all of this, by NVML; the cell is empty where nothing did."
    )
    foreign_processes: int | None = _measured(
        "This many other processes at most, by NVML, computed on the GPU at once.", unit="processes", format=".0f"
    )
    gflop_per_target: float | None = _measured(
        "Memory attention and mask decoder take this much arithmetic for one target, counted.",
        unit="GFLOP",
        format=".2f",
    )
    gflop_per_s: float | None = _measured(
        "The strategy does this much of that arithmetic in each second.", unit="GFLOP/s", format=".1f"
    )
    matrix_gflop_per_s: float | None = _measured(
        "A large matrix product reached this rate on this device in the same process.", unit="GFLOP/s", format=".1f"
    )
    matrix_share: float | None = _measured(
        "The strategy reaches this share of `matrix_gflop_per_s`.", unit="0 to 1", format=".1%"
    )
    projected_min: float | None = _measured(
        "A job of `project_to` targets takes this long, encoding included.", unit="min", format=".1f"
    )
    repeat: int = _column(
        "The point was measured several times, and this is which of them, from 0.",
        format=".0f",
        identifies=True,
        default=0,
    )
    options: str | None = _measured(
        "These options differ from their defaults and have no column of their own, as they are typed on a command line."
    )
    command: str = _column("This command measures the point again.")

    def __post_init__(self) -> None:
        for column in CATALOGUE.values():
            if not column.holds(value := getattr(self, column.name)):
                raise ValueError(f"not a result row: its {column.name} can't be {value!r}")
        if self.status != "ok" and any(getattr(self, name) is not None for name in SPEEDUP):
            raise ValueError(f"a point that is {self.status} has no speed-up: {self}")

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Row:
        """Read what `asdict` gave, in this version or another; columns that this version does not know are left out.

        Raises ValueError where a value is missing or invalid, TypeError where the row is no mapping.
        """
        missing = [name for name in COLUMNS if name not in content and CATALOGUE[name].required]
        if missing:
            raise ValueError(f"not a result row: it has no {', '.join(missing)}")
        return Row(**{name: content[name] for name in COLUMNS if name in content})


@dataclass(frozen=True, kw_only=True)
class Column:
    """The description of a column of `Row`.

    kind: the type of its values; a float may be an int. choices: the only valid words, or none where any will do.
    optional: whether the value may be None. required: whether a row must give it. unit: empty for words and pure
    numbers. format: that of numbers, as `format` takes it; empty for words. help: a sentence that explains it.
    identifies: whether points that differ in it are different points.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    required: bool
    unit: str
    format: str
    help: str
    identifies: bool

    def holds(self, value: object) -> bool:
        """Return whether the column can hold the value."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if self.kind is float:
            return isinstance(value, int | float)
        return isinstance(value, self.kind) and (not self.choices or value in self.choices)


def _catalogue() -> dict[str, Column]:
    hints = get_type_hints(Row)
    return {one.name: _described(one.name, hints[one.name], one.default, one.metadata) for one in fields(Row)}


def _described(name: str, hint: Any, default: Any, metadata: Mapping[str, Any]) -> Column:
    """Derive a column from its field's annotation, a type or a `Literal` of words, alone or with None."""
    union = not isinstance(hint, type) and get_origin(hint) is not Literal
    kinds = get_args(hint) if union else (hint,)
    (kind,) = (one for one in kinds if one is not NoneType)
    words = get_args(kind) if get_origin(kind) is Literal else ()
    return Column(
        name=name,
        kind=str if words else kind,
        choices=words,
        optional=NoneType in kinds,
        required=default is MISSING,
        **metadata,
    )


CATALOGUE = _catalogue()
"""The columns of summary.csv by their names, in order."""
COLUMNS = tuple(CATALOGUE)


def column_reference() -> list[tuple[str, str, str]]:
    """Return name, unit and meaning of every column, in order; the unit is empty for words and pure numbers."""
    return [(column.name, column.unit, column.help) for column in CATALOGUE.values()]
