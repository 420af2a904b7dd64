"""The row of summary.csv that a grid point ends with: its columns, with their types, units, formats and meanings.

Whatever shows, checks or explains a column derives it from `Row`: the summary, the terminal's table, the report's types
and numbers, and the reference documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from harness.column import column, columns_of, measured
from harness.stats.best import Speed
from harness.stats.speedup import Verdict

Status = Literal["ok", "oom", "timeout", "crash", "wrong", "skipped"]
Masks = Literal["same", "differ"]
Scenario = Literal["predict", "job", "stream"]
STATUSES: tuple[Status, ...] = get_args(Status)
SPEEDUP = ("speedup", "speedup_lo", "speedup_hi", "verdict")
"""Columns that a point has only if its masks are right."""
STAR = "*"
"""The mark of a number that was not measured long enough."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What a grid point was and what was found of it; None is what was not measured.

    Raises ValueError for a value that its column can't hold, and for a speed-up of a point that is not ok.
    """

    point: str = column(
        "The point has this name: strategy, variant, batch, objects, and a hash of all options that decide what "
        "is measured."
    )
    strategy: str = column("The strategy has this name in `conf/strategy/`.", identifies=True, shown="always")
    variant: str = column(
        "The strategy's own options are set like this: a switch that is on stands by its name, others by their value.",
        identifies=True,
        shown="always",
    )
    model: str = column(
        "The model has this name in `conf/model/`.", identifies=True, setting=True, shown="where it varies"
    )
    data: str = column(
        "The data source has this name in `conf/data/`.", identifies=True, setting=True, shown="where it varies"
    )
    device: str | None = column(
        "The GPU or the CPU that the point ran on has this name.", setting=True, shown="where it varies", default=None
    )
    dtype: str = column("The model computes in this dtype.", identifies=True, setting=True, shown="where it varies")
    batch: int = column(
        "The strategy predicts this many targets at once; in a stream, one frame of so many videos.",
        unit="targets",
        format=".0f",
        identifies=True,
        shown="always",
    )
    objects: int | None = column(
        "The group with the most objects has this many.",
        unit="objects",
        format=".0f",
        identifies=True,
        default=None,
        shown="always",
    )
    refs: int | None = column(
        "The group with the most reference frames has this many.",
        unit="frames",
        format=".0f",
        identifies=True,
        default=None,
        setting=True,
        shown="where it varies",
    )
    targets: int | None = column(
        "All groups together have this many target frames.",
        unit="frames",
        format=".0f",
        identifies=True,
        default=None,
        setting=True,
        shown="where it varies",
    )
    scenario: Scenario = column(
        "This is what was timed: `predict`, masks from features; `job`, from pictures on disk to masks on disk; or "
        "`stream`, videos frame by frame.",
        identifies=True,
        default="predict",
        setting=True,
        shown="where it varies",
    )
    status: Status = column("The point ended in this way, see Statuses.", shown="always")
    reason: str | None = measured("This is why the status is not `ok`, or why a point that is `ok` has no speed-up.")
    fps: float | None = measured(
        "The prediction stage, or with `scenario=job` the whole job, does this many targets per second of wall clock, "
        "by the median block of each group.",
        unit="targets/s",
        format=".1f",
        shown="always",
    )
    objects_per_s: float | None = measured(
        "The same does this many (target, object) pairs per second.", unit="pairs/s", format=".1f"
    )
    encode_fps: float | None = measured(
        "The vision encoder's stage does this many frames per second, from the first file read to the last "
        "feature on disk; all strategies share it.",
        unit="frames/s",
        format=".1f",
    )
    bank_s: float | None = measured(
        "Building a group's memory bank takes this long; the cell is empty for a strategy that builds it for "
        "every target, whose `fps` includes it.",
        unit="s",
        format=".3f",
        shown="always",
    )
    setup_s: float | None = measured(
        "Starting the point's process and loading everything takes this long; it is never inside the clock.",
        unit="s",
        format=".1f",
    )
    sdpa: str | None = measured(
        "These attention kernels of torch ran in one batch, the most frequent first; of compiled code they are "
        "all but `math`, which the compiler takes apart."
    )
    reference: str | None = measured(
        "This is the baseline strategy that `speedup` is over; the cell is empty where a point is timed alone.",
        shown="where it varies",
    )
    speedup: float | None = measured(
        "The baseline strategy takes this many times as long as this strategy, by the median of paired rounds; "
        "the cell is empty unless the status is `ok`.",
        unit="ratio",
        format=".2f",
        shown="always",
        gate="ratio",
    )
    speedup_lo: float | None = measured(
        "The 95 % bootstrap interval of `speedup` begins here.", unit="ratio", format=".2f", shown="always"
    )
    speedup_hi: float | None = measured(
        "The 95 % bootstrap interval of `speedup` ends here.", unit="ratio", format=".2f", shown="always"
    )
    verdict: Verdict | None = measured(
        "The point is the `same` where the whole interval is within `timing.same` of 1, `faster` or `slower` "
        "where all of it is on one side of 1, else `unclear`.",
        shown="always",
    )
    blocks: int | None = measured("This many passes were timed, of both sides together.", unit="blocks", format=".0f")
    processes: int | None = measured(
        "This many fresh processes timed the point. With more than one, `speedup` is the mean of theirs, on the log "
        "scale, and its interval holds what differs between them.",
        unit="processes",
        format=".0f",
    )
    converged: bool | None = measured(
        "The interval became (`True`) or did not become (`False`) as narrow as `timing.width` asks for before "
        "`timing.max_seconds` were over."
    )
    cpu_others: float | None = measured(
        "Others took this share of all processors' time while rounds were timed: other processes of this machine, and "
        "other machines on its host. The cell is empty where that can't be read, or rounds took less than half a "
        "second.",
        unit="0 to 1",
        format=".0%",
    )
    disturbed: bool | None = measured(
        "Others took a tenth of all processors' time or more (`True`), or less (`False`), while rounds were timed: "
        "what a neighbour does to a ratio is not in the interval of one process."
    )
    fp32_masks: Masks | None = measured(
        "A few targets were predicted in fp32, too, by the same strategy with the same options: the masks count as "
        "those of `sequential` in fp32 (`same`) or do not (`differ`, which makes a point `wrong`). The cell is empty "
        "for points in fp32, and where the strategy can't run in fp32 on this machine."
    )
    masks: Masks | None = measured(
        "The masks count as those of `sequential` on the same targets (`same`) or they do not (`differ`); the "
        "rule is that for exact strategies, which allows for float noise, whichever strategy it is."
    )
    iou_mean: float | None = measured(
        "The masks have this mean IoU, over all pairs, with those of `sequential` on the same targets.",
        unit="0 to 1",
        format=".4f",
        gate="difference",
    )
    iou_p1: float | None = measured("This is the first percentile of the same IoU.", unit="0 to 1", format=".4f")
    iou_min: float | None = measured(
        "The worst pair has this IoU.", unit="0 to 1", format=".4f", shown="always", gate="difference"
    )
    max_abs_dlogit: float | None = measured(
        "The logits of masks differ from those of `sequential` by no more than this, over pairs in which both "
        "sides see the object.",
        unit="logits",
        format=".1e",
    )
    max_abs_dscore: float | None = measured(
        "Object scores differ from those of `sequential` by no more than this.", unit="logits", format=".1e"
    )
    max_abs_diou: float | None = measured(
        "The predicted IoUs of candidate masks differ from those of `sequential` by no more than this.",
        unit="0 to 1",
        format=".1e",
    )
    gate_flips: int | None = measured(
        "The object-score gate came out differently in this many pairs; a point is `wrong` where noise makes fewer, "
        "or where a mask is not the one that belongs to its gate.",
        unit="pairs",
        format=".0f",
    )
    pick_flips: int | None = measured(
        "Another one of the candidate masks was the best in this many pairs; a point is `wrong` where noise makes "
        "fewer, or where a mask is not the candidate that was picked.",
        unit="pairs",
        format=".0f",
    )
    checked_calls: int | None = measured(
        "The masks of this many calls of the strategy were compared, timed ones included: a fault in 3 of so many "
        "calls shows with a probability of 95 %.",
        unit="calls",
        format=".0f",
    )
    j: float | None = measured(
        "The masks have this region similarity with the ground truth: the IoU, mean over frames, then objects.",
        unit="0 to 1",
        format=".3f",
    )
    f: float | None = measured(
        "The masks have this boundary measure with the ground truth, mean over frames, then objects.",
        unit="0 to 1",
        format=".3f",
    )
    jf: float | None = measured(
        "This is the mean of `j` and `f`.", unit="0 to 1", format=".3f", shown="always", gate="difference"
    )
    pairs_at_once: int | None = measured(
        "The strategy computes this many (target, object) pairs at once at most, and more of them in several chunks; "
        "the cell is empty for a strategy without chunks.",
        unit="pairs",
        format=".0f",
    )
    peak_rss_mb: float | None = measured(
        "The point's process had this much memory at its peak while the strategy worked alone, model included.",
        unit="MiB",
        format=".0f",
        shown="always",
        gate="memory",
    )
    cpu_s_per_1000: float | None = measured(
        "The strategy takes this much CPU time, of all cores, for 1,000 targets.", unit="s", format=".2f"
    )
    vram_peak_mb: float | None = measured(
        "Torch's allocator gave out this much GPU memory at its peak.",
        unit="MiB",
        format=".0f",
        shown="always",
        gate="memory",
    )
    vram_reserved_mb: float | None = measured(
        "Torch's allocator held this much GPU memory at its peak.", unit="MiB", format=".0f"
    )
    vram_device_mb: float | None = measured(
        "The GPU had this much memory in use at its peak, less what was in use before the point.",
        unit="MiB",
        format=".0f",
    )
    gpu_util_mean: float | None = measured(
        "Any kernel ran on the GPU for this share of the time, by NVML, on average while the strategy ran alone.",
        unit="%",
        format=".0f",
    )
    gpu_power_w: float | None = measured(
        "The GPU drew this power, by NVML, on average while the strategy ran alone.", unit="W", format=".0f"
    )
    energy_j_per_1000: float | None = measured(
        "The GPU takes this much energy, by NVML, for 1,000 targets.", unit="J", format=".1f"
    )
    gpu_temperature_c: float | None = measured(
        "The GPU reached this temperature, by NVML, while the strategy ran alone.", unit="°C", format=".0f"
    )
    gpu_clock_mhz: float | None = measured(
        "The GPU's multiprocessors ran at this clock, by NVML, on average while the strategy ran alone.",
        unit="MHz",
        format=".0f",
    )
    throttle: str | None = measured(
        "The GPU's clocks were held down by all of this, by NVML; the cell is empty where nothing did."
    )
    foreign_processes: int | None = measured(
        "This many other processes at most, by NVML, computed on the GPU at once.", unit="processes", format=".0f"
    )
    gflop_per_target: float | None = measured(
        "Memory attention and mask decoder take this much arithmetic for one target, counted.",
        unit="GFLOP",
        format=".2f",
    )
    gflop_per_s: float | None = measured(
        "The strategy does this much of that arithmetic in each second.", unit="GFLOP/s", format=".1f"
    )
    matrix_gflop_per_s: float | None = measured(
        "Large matrix products reached this rate on this device in the same process, the best of a few shapes.",
        unit="GFLOP/s",
        format=".1f",
    )
    matrix_share: float | None = measured(
        "The strategy reaches this share of `matrix_gflop_per_s`.", unit="0 to 1", format=".1%"
    )
    copy_gb_per_s: float | None = measured(
        "Copying memory reached this rate on this device in the same process, bytes read and written.",
        unit="GB/s",
        format=".1f",
    )
    projected_min: float | None = measured(
        "A job of `project_to` targets takes this long, encoding included; reading, enlarging and writing are included "
        "where `scenario=job` measured them.",
        unit="min",
        format=".1f",
    )
    read_busy: float | None = measured(
        "With `scenario=job`, this is the share of the workers' time in which they read, decoded and resized pictures.",
        unit="0 to 1",
        format=".0%",
    )
    encode_busy: float | None = measured(
        "This is the share of the job's time in which the network encoded.", unit="0 to 1", format=".0%"
    )
    predict_busy: float | None = measured(
        "This is the share of the job's time in which the network predicted.", unit="0 to 1", format=".0%"
    )
    enlarge_busy: float | None = measured(
        "This is the share of the workers' time in which they enlarged masks to the pictures' size.",
        unit="0 to 1",
        format=".0%",
    )
    write_busy: float | None = measured(
        "This is the share of the workers' time in which they measured and wrote masks.", unit="0 to 1", format=".0%"
    )
    bottleneck: str | None = measured(
        "The others waited for this stage: it has most of the work on the busier side, network or workers."
    )
    overlap: float | None = measured(
        "The longest stage alone takes this share of what the job takes, in the first timed group: near 1, the others "
        "hide behind it.",
        unit="ratio",
        format=".2f",
    )
    job_cpu_ratio: float | None = measured(
        "The pipeline took this many times the CPU time that its stages take one after another, in the first timed "
        "group.",
        unit="ratio",
        format=".2f",
    )
    job_iou_mean: float | None = measured(
        "The job's masks, at the pictures' size, have this mean IoU with those of the loop around the baseline "
        "strategy, or of `sequential` where no loop is timed.",
        unit="0 to 1",
        format=".4f",
    )
    job_iou_min: float | None = measured("The worst of these has this IoU.", unit="0 to 1", format=".4f")
    repeat: int = column(
        "The point was measured several times, and this is which of them, from 0.",
        format=".0f",
        identifies=True,
        default=0,
    )
    options: str | None = measured(
        "These options differ from their defaults and have no column of their own, as they are typed on a "
        "command line.",
        shown="where it varies",
    )
    command: str = column("This command measures the point again.")

    def __post_init__(self) -> None:
        for one in CATALOGUE.values():
            if not one.holds(value := getattr(self, one.name)):
                raise ValueError(f"not a result row: its {one.name} can't be {value!r}")
        if self.status != "ok" and any(getattr(self, name) is not None for name in SPEEDUP):
            raise ValueError(f"a point that is {self.status} has no speed-up: {self}")

    @property
    def speed(self) -> Speed:
        """What the choice among points goes by. Only a point with an fps has it."""
        assert self.fps is not None
        return Speed(
            fps=self.fps, baseline=self.reference, lo=self.speedup_lo, hi=self.speedup_hi, verdict=self.verdict
        )

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Row:
        """Read what `asdict` gave, in this version or another; columns that this version does not know are left out.

        Raises ValueError where a value is missing or invalid, TypeError where the row is no mapping.
        """
        missing = [name for name in COLUMNS if name not in content and CATALOGUE[name].required]
        if missing:
            raise ValueError(f"not a result row: it has no {', '.join(missing)}")
        return Row(**{name: content[name] for name in COLUMNS if name in content})


CATALOGUE = columns_of(Row)
"""The columns of summary.csv by their names, in order."""
COLUMNS = tuple(CATALOGUE)
SETTING = tuple(name for name, one in CATALOGUE.items() if one.setting)
"""Columns that say what strategies are compared on."""
GATED = tuple(name for name, one in CATALOGUE.items() if one.gate)
"""Columns that the regression gate compares."""


def doubtful_column(*, converged: bool | None, has_speedup: bool) -> str | None:
    """Return the column whose number timing that ended too early leaves uncertain; None where it did not."""
    if converged is not False:
        return None
    return "speedup" if has_speedup else "fps"


def column_reference() -> list[tuple[str, str, str]]:
    """Return name, unit and meaning of every column, in order; the unit is empty for words and pure numbers."""
    return [(one.name, one.unit, one.help) for one in CATALOGUE.values()]
