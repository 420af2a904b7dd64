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
    """A field of `Row`; see `Column` for what is told of it."""
    told = {"unit": unit, "format": format, "help": help, "identifies": identifies}
    return field(default=default, metadata=told)


def _measured(help: str, *, unit: str = "", format: str = "") -> Any:
    """A field of `Row` that is None where it was not measured."""
    return _column(help, unit=unit, format=format, default=None)


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a grid point was and what was found of it; None is what was not measured.

    A row with a value that its column can't hold, and one that is fast but wrong, can't be made: ValueError.
    """

    point: str = _column("The point has this name, and so has its file in `points/`.")
    strategy: str = _column("The strategy has this name in `conf/strategy`.", identifies=True)
    variant: str = _column("The strategy's own options are set to these values.", identifies=True)
    model: str = _column("The model has this name.", identifies=True)
    data: str = _column("The frames come from this data source.", identifies=True)
    device: str | None = _measured("The point ran on this GPU or CPU.")
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
    status: Status = _column(
        "The point ended with this: `ok`; `wrong`, where an exact strategy's masks differ, which leaves it "
        "without a speed-up; `oom`, `timeout`, `crash` or `skipped`."
    )
    reason: str | None = _measured("The point ended so for this reason; where it is `ok`, this is a note.")
    fps: float | None = _measured(
        "The prediction stage takes in this many targets per second of wall clock, by its median block.",
        unit="targets/s",
        format=".1f",
    )
    objects_per_s: float | None = _measured(
        "The prediction stage does this many (target, object) pairs per second.", unit="pairs/s", format=".1f"
    )
    encode_fps: float | None = _measured(
        "The vision encoder's stage takes in this many frames per second, from the first file read to the "
        "last feature on disk.",
        unit="frames/s",
        format=".1f",
    )
    bank_s: float | None = _measured(
        "Building a group's memory bank takes this long; the cell is empty for `rebuild`, whose `fps` includes it.",
        unit="s",
        format=".3f",
    )
    setup_s: float | None = _measured(
        "Starting the point's process and loading everything takes this long; it is never inside the clock.",
        unit="s",
        format=".1f",
    )
    sdpa: str | None = _measured(
        "These attention kernels of torch ran in one batch, the most frequent first; of compiled code they "
        "are all but `math`, which the compiler takes apart."
    )
    reference: str | None = _measured("The speed-up is over this strategy, the baseline.")
    speedup: float | None = _measured(
        "The point is this many times as fast as the baseline strategy, by the median of paired rounds.",
        unit="times",
        format=".2f",
    )
    speedup_lo: float | None = _measured(
        "The 95 % bootstrap interval of `speedup` begins here.", unit="times", format=".2f"
    )
    speedup_hi: float | None = _measured(
        "The 95 % bootstrap interval of `speedup` ends here.", unit="times", format=".2f"
    )
    verdict: Verdict | None = _measured(
        "The interval says that the point is `faster`, `slower` or the `same` (the whole interval lies "
        "within 5 % of 1), or it leaves that `unclear`."
    )
    blocks: int | None = _measured("This many passes were timed.", unit="blocks", format=".0f")
    converged: bool | None = _measured(
        "This is `True` where the interval became as narrow as asked for (10 %) before time was up."
    )
    masks: Masks | None = _measured(
        "The masks count as those of `sequential` on the same targets (`same`) or they do not (`differ`); "
        "the rule is that for exact strategies, which allows for float noise, whichever strategy it is."
    )
    iou_mean: float | None = _measured(
        "The masks have this IoU with those of `sequential` on the same targets, on average.", format=".4f"
    )
    iou_p1: float | None = _measured(
        "One mask in a hundred has no more than this IoU with that of `sequential`.", format=".4f"
    )
    iou_min: float | None = _measured("The worst mask has this IoU with that of `sequential`.", format=".4f")
    max_abs_dlogit: float | None = _measured(
        "A mask's logits differ by no more than this from those of `sequential`, where both see the object.",
        format=".1e",
    )
    gate_flips: int | None = _measured(
        'So often "is the object in the frame?" came out differently; a point is `wrong` where one was no near tie.',
        unit="pairs",
        format=".0f",
    )
    pick_flips: int | None = _measured(
        'So often "which of three masks is best?" came out differently; a point is `wrong` where one was no near tie.',
        unit="pairs",
        format=".0f",
    )
    j: float | None = _measured(
        "The masks have this region similarity J with the ground truth, where there is any.", format=".3f"
    )
    f: float | None = _measured(
        "The masks have this boundary measure F with the ground truth, where there is any.", format=".3f"
    )
    jf: float | None = _measured("This is the mean of J and F.", format=".3f")
    peak_rss_mb: float | None = _measured(
        "The point's process takes this much memory at its peak while the strategy works alone, model included.",
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
        "The GPU had this much memory in use beyond idle, through NVML, while the strategy ran alone.",
        unit="MiB",
        format=".0f",
    )
    gpu_util_mean: float | None = _measured(
        "The GPU was busy for this share of the time, through NVML, while the strategy ran alone for 10 s.",
        unit="%",
        format=".0f",
    )
    gpu_power_w: float | None = _measured("The GPU drew this power on average meanwhile.", unit="W", format=".0f")
    energy_j_per_1000: float | None = _measured(
        "The GPU takes this much energy for 1,000 targets.", unit="J", format=".1f"
    )
    gpu_temperature_c: float | None = _measured("The GPU was this hot at most meanwhile.", unit="°C", format=".0f")
    gpu_clock_mhz: float | None = _measured(
        "The GPU's processors ran at this clock on average meanwhile.", unit="MHz", format=".0f"
    )
    throttle: str | None = _measured("The GPU slowed itself down for these reasons meanwhile.")
    foreign_processes: int | None = _measured(
        "This many other processes at most were on the GPU meanwhile.", unit="processes", format=".0f"
    )
    gflop_per_target: float | None = _measured(
        "Memory attention and mask decoder take this much arithmetic for a target, as counted.",
        unit="GFLOP",
        format=".2f",
    )
    gflop_per_s: float | None = _measured(
        "The strategy does this much of that arithmetic per second.", unit="GFLOP/s", format=".1f"
    )
    matrix_gflop_per_s: float | None = _measured(
        "A large matrix product reached this rate on this device in this process.", unit="GFLOP/s", format=".1f"
    )
    matrix_share: float | None = _measured("The strategy reaches this share of that rate.", format=".1%")
    projected_min: float | None = _measured(
        "A job of `project_to` targets (29,066) takes this long, encoding included.", unit="min", format=".1f"
    )
    repeat: int = _column(
        "This is the number of the point's repetition, from 0.", format=".0f", identifies=True, default=0
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
        """As `asdict` gave it, in this version or another: columns that this version does not know are left out.

        ValueError where a value is missing or can't be, TypeError where it is no mapping.
        """
        missing = [name for name in COLUMNS if name not in content and CATALOGUE[name].required]
        if missing:
            raise ValueError(f"not a result row: it has no {', '.join(missing)}")
        return Row(**{name: content[name] for name in COLUMNS if name in content})


@dataclass(frozen=True, kw_only=True)
class Column:
    """What `Row` tells of a column.

    kind: of its values; a float may be an int. choices: the only words there are, where not any will do. optional:
    whether the value may be None. required: whether a row must give it. unit: empty for words and pure numbers.
    format: of numbers, as `format` takes it; empty for words. help: a sentence. identifies: whether points that differ
    in it are different points.
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
        """Whether the column can hold the value."""
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
    """From the field's annotation: a type or a `Literal` of words, alone or with None."""
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
    """Name, unit and meaning of every column, in order; the unit is empty for words and pure numbers."""
    return [(column.name, column.unit, column.help) for column in CATALOGUE.values()]
