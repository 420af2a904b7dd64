"""Targets per second, from the raw samples of a point: the strategy's own, with an interval, and its baseline's."""

from __future__ import annotations

import math
from collections.abc import Set
from statistics import median
from typing import Any

import pandas as pd

from harness.stats.interval import Interval
from harness.stats.speedup import estimate
from report.reading.run import Run, dig, finite


def fps_interval(run: Run, row: pd.Series) -> Interval | None:
    """Return the 95 % interval of a point's fps by its blocks, or None where these are too few.

    The interval is a bootstrap of each group's median block, as that of a speed-up is one of its rounds. It shows how
    much the machine varied during this point, not what it would measure at another time.
    """
    groups = _seconds_per_target(run.of(row, "samples"), {"candidate"})
    if not groups or min(map(len, groups)) < 2 or finite(row["fps"]) is None:
        return None
    seconds = estimate([[math.log(one) for one in group] for group in groups], [median(group) for group in groups])
    if seconds.lo is None or seconds.hi is None:
        return None
    slow, fast = seconds.ratio / seconds.hi, seconds.ratio / seconds.lo
    return Interval(value=row["fps"], lo=row["fps"] * slow, hi=row["fps"] * fast)


def baseline_rate(run: Run, row: pd.Series) -> float | None:
    """Return the targets a second of the strategy that a point was timed against, or None where it was timed alone."""
    groups = _seconds_per_target(run.of(row, "samples"), {"baseline", "reference"})  # Old runs call it a reference.
    return len(groups) / sum(map(median, groups)) if groups else None


def rate_in_turns(samples: Any) -> float | None:
    """Return the targets a second of the strategy itself in the first group that was timed, in its turns."""
    groups = _seconds_per_target(samples, {"candidate"})
    return 1 / median(groups[0]) if groups else None


def _seconds_per_target(samples: Any, sides: Set[str]) -> list[list[float]]:
    """Return the seconds a target of one side's blocks, by group. sides: the side's names in new files and old ones."""
    groups: dict[str, list[float]] = {}
    for block in samples if isinstance(samples, list) else []:
        seconds, targets = finite(dig(block, "seconds")), finite(dig(block, "targets"))
        if str(dig(block, "side")) in sides and seconds and targets and seconds > 0 and targets > 0:
            groups.setdefault(str(dig(block, "group")), []).append(seconds / targets)
    return list(groups.values())
