"""Findings about claims: the points and measurements that a claim is about, and verdicts by their intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import Literal

import pandas as pd

from harness.stats.interval import Interval
from harness.stats.speedup import estimate
from report.reading.run import Run, finite
from report.reading.samples import baseline_rate
from report.render.style import BASELINE
from report.sections.points_table import memory_column, ratio, with_ends

Verdict = Literal["confirmed", "refuted", "not testable here"]
ABOUT = 4 / 3
"""A claimed number is confirmed by a measured one within this factor of it: nobody claims three digits."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a run says about a claim.

    measured: the measured numbers as text, also where they decide nothing. why: the reason for the verdict.
    """

    measured: str
    verdict: Verdict
    why: str


class NotMeasuredError(Exception):
    """A run lacks a measurement that a claim needs; the message says which."""


# --- what was measured -------------------------------------------------------------------------------------------


def point_of(points: pd.DataFrame, strategy: str, variant: str | None = None, **setting: int) -> pd.Series:
    """Return the finished point of a strategy; of several the one with the fewest objects.

    Raises NotMeasuredError without one.
    """
    found = points[points["strategy"] == strategy]
    if variant is not None:
        found = found[found["variant"] == variant]
    for name, value in setting.items():
        found = found[found[name] == value]
    finished = found[found["status"] == "ok"].sort_values("objects", kind="stable")
    if len(finished):
        return finished.iloc[0]
    asked = [strategy, *filter(None, [variant]), *(f"{name}={value}" for name, value in setting.items())]
    ended = "" if found.empty else f" (one ended as {found['status'].iloc[0]})"
    raise NotMeasuredError(f"no finished point {' '.join(asked)}{ended}")


def speedup_of(row: pd.Series) -> Interval:
    """Return a point's speed-up over `sequential`.

    Raises NotMeasuredError where the point has none, or was timed against another strategy.
    """
    value, lo, hi = (finite(row[name]) for name in ("speedup", "speedup_lo", "speedup_hi"))
    if value is None or lo is None or hi is None or not 0 < lo <= value <= hi or row["reference"] != BASELINE:
        raise NotMeasuredError(f"{row['point']} has no interval of its speed-up over {BASELINE}")
    return Interval(value=value, lo=lo, hi=hi)


def fps_of(row: pd.Series) -> float:
    found = finite(row["fps"])
    if found is None:
        raise NotMeasuredError(f"{row['point']} has no speed")
    return found


def baseline_fps(run: Run, points: pd.DataFrame, *, refs: int, objects: float) -> Interval:
    """Return the fps of `sequential` over all points that were timed against it.

    The value is the median, and the interval goes from the slowest to the fastest process, because processes differ by
    more than the blocks of one process do. Raises NotMeasuredError with fewer than two points.
    """
    alike = points[(points["refs"] == refs) & (points["objects"] == objects) & (points["reference"] == BASELINE)]
    found = [fps for _, row in alike.iterrows() if (fps := baseline_rate(run, row)) is not None]
    if len(found) < 2:
        raise NotMeasuredError(f"fewer than two points with refs={refs} were timed against {BASELINE}")
    return Interval(value=median(found), lo=min(found), hi=max(found))


def memory_of(points: pd.DataFrame, row: pd.Series) -> float:
    """Return a point's peak memory, in MB. Raises NotMeasuredError without one."""
    value = finite(row[memory_column(points)])
    if value is None:
        raise NotMeasuredError(f"{row['point']} has no peak of memory")
    return value


def milliseconds_of(run: Run, row: pd.Series, *keys: str) -> Interval:
    """Return the median call of a stage in milliseconds, with its interval.

    keys: the stage's place in what `harness.measure.stages` stored. Raises NotMeasuredError where it stored nothing.
    """
    stored = run.of(row, "details", "stages", *keys)
    seconds = [one for one in map(finite, stored if isinstance(stored, list) else []) if one is not None and one > 0]
    if not seconds:
        raise NotMeasuredError(f"{row['point']} was not watched in its stages")
    logs = [math.log(one) for one in seconds]
    found = estimate([logs], [1.0])
    ends = (found.ratio, found.ratio) if found.lo is None or found.hi is None else (found.lo, found.hi)
    return Interval(value=1000 * found.ratio, lo=1000 * ends[0], hi=1000 * ends[1])


# --- verdicts ----------------------------------------------------------------------------------------------------


def within(name: str, found: Interval, lo: float, hi: float) -> Finding:
    """Compare an interval with a range: confirmed if all of it is inside, refuted if all of it is outside."""
    span = f"{ratio(lo)} to {ratio(hi)}"
    measured = shown(name, found)
    if lo <= found.lo and found.hi <= hi:
        return Finding(measured=measured, verdict="confirmed", why=f"{name} within {span}")
    if found.hi < lo:
        return Finding(measured=measured, verdict="refuted", why=f"{name} below {span}")
    if found.lo > hi:
        return Finding(measured=measured, verdict="refuted", why=f"{name} above {span}")
    return Finding(measured=measured, verdict="not testable here", why=f"{name} not clearly within {span}, nor outside")


def about(name: str, found: Interval, claimed: float) -> Finding:
    return within(name, found, claimed / ABOUT, claimed * ABOUT)


def all_of(*findings: Finding) -> Finding:
    """Combine findings: refuted if one is; confirmed if every one is."""
    return _first(findings, ("refuted", "not testable here", "confirmed"))


def any_of(*findings: Finding) -> Finding:
    """Combine findings: confirmed if one is; refuted if every one is."""
    return _first(findings, ("confirmed", "not testable here", "refuted"))


def shown(name: str, found: Interval) -> str:
    return f"{name}: {ratio(found.value) if found.lo == found.hi else with_ends(found)}"


def _first(findings: tuple[Finding, ...], order: tuple[Verdict, ...]) -> Finding:
    verdict = next(one for one in order if any(finding.verdict == one for finding in findings))
    return Finding(
        measured="; ".join(finding.measured for finding in findings),
        verdict=verdict,
        why="; ".join(finding.why for finding in findings if finding.verdict == verdict),
    )
