"""How fast a point is, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

from harness.column import measured
from harness.row.point import PointColumns
from harness.stats.speedup import Verdict


@dataclass(frozen=True, kw_only=True)
class SpeedColumns(PointColumns):
    """The columns up to those of speed."""

    fps: float | None = measured(
        "The prediction stage, or with `scenario=job` the whole job, does this many targets per second of wall clock, "
        "by the median block of each group. With `scenario=stream` every frame counts, labelled ones included.",
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
