"""What the field claims about the length of a memory, checked on streams; for ``+experiment=memory_frames``."""

from __future__ import annotations

import pandas as pd

from harness.stats.interval import Interval, quotient
from report.reading.run import Run, finite
from report.sections.claim_findings import (
    ABOUT,
    Finding,
    NotMeasuredError,
    about,
    all_of,
    memory_of,
    point_of,
    shown,
    within,
)
from report.sections.points_table import memory_column

FASTEST, MIDDLE, SLOWEST = 44, 38, 30
"""Frames per second that are claimed for 8, 12 and 16 frames."""


def frames_speed(_: Run, points: pd.DataFrame) -> Finding:
    """Check how speed falls with the length of memory, by speed-ups over the same session.

    The range for 12 frames ends at 1, because more frames never make the strategy faster.
    """
    few, some, many = (_speedup(_with_frames(points, frames)) for frames in (8, 12, 16))
    return all_of(
        within("12 / 8", quotient(some, few), MIDDLE / FASTEST / ABOUT, 1),
        within("16 / 8", quotient(many, few), SLOWEST / FASTEST / ABOUT, SLOWEST / FASTEST * ABOUT),
    )


def frames_memory(_: Run, points: pd.DataFrame) -> Finding:
    """Check how memory grows; without a GPU only what a pair keeps is told, for most of a process is the model."""
    few, many = (_with_frames(points, frames) for frames in (8, 16))
    if memory_column(points) == "vram_peak_mb":
        return about("16 / 8", Interval.exact(memory_of(points, many) / memory_of(points, few)), 3.6 / 1.8)
    kept = [finite(row["pair_mb"]) for row in (few, many)]
    if kept[0] is None or kept[1] is None or not kept[0] > 0:
        raise NotMeasuredError("needs a GPU, or what a pair keeps")
    measured = shown("16 / 8, of what a pair keeps", Interval.exact(kept[1] / kept[0]))
    return Finding(measured=measured, verdict="not testable here", why="needs a GPU: the claim is of all of its memory")


def _with_frames(points: pd.DataFrame, frames: int) -> pd.Series:
    return point_of(points, "stream_batched", f"memory_frames={frames}")


def _speedup(row: pd.Series) -> Interval:
    value, lo, hi = (finite(row[name]) for name in ("speedup", "speedup_lo", "speedup_hi"))
    if value is None or lo is None or hi is None or not 0 < lo <= value <= hi:
        raise NotMeasuredError(f"{row['point']} has no interval of its speed-up")
    return Interval(value=value, lo=lo, hi=hi)
