"""Measuring the gate's points, and again what stays unclear, or too uncertain for a snapshot.

Each time it is measured for twice as long as the time before, or for as long as its limits allow where that is 1.5
times as long; and where it has several processes in so many times more of them, up to a limit. What the snapshot's own
interval keeps unclear is not measured again: no time would decide it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from rich.console import Console

from harness.cli import PENDING, measure
from harness.gate.attempts import failed_again
from harness.gate.rule import Finding
from harness.guard import INTERRUPTED
from harness.options.config import MOST_PROCESSES
from harness.options.points import Point
from harness.store.point_key import key_of, refuse_duplicate_keys

SETUP_SECONDS, FURTHER_SECONDS = 30.0, 10.0
"""What a point, and each further process of it, may take besides its rounds, on a machine that is slow."""
WORTH_IT = 1.5
"""A point is measured again only where it can be for so many times as long as before."""


def measure_points(points: Sequence[Point], warned: set[str]) -> Path:
    """Measure the points and return the run's folder; warnings are given, and noted, that were not ``warned`` of."""
    return _measured(points, warned)[0]


def _measured(points: Sequence[Point], warned: set[str]) -> tuple[Path, bool]:
    """Measure the points; returns the run's folder, and whether ``minutes`` were over before all were measured."""
    refuse_duplicate_keys((key_of(point), point.name) for point in points)
    code, run = measure(points, warned=warned)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return run.path, code == PENDING


@dataclass(frozen=True, kw_only=True)
class Remeasured:
    """What was found in the end, after unclear points were measured again.

    limit: the option, with its value, that ended it; None where no point was left to measure again.
    """

    findings: list[Finding]
    limit: str | None


def measure_unclear_longer(
    run: Path, points: Sequence[Point], warned: set[str], judged: Callable[[], list[Finding]], *, end: float, word: str
) -> Remeasured:
    """Measure the run's unclear points longer, until none is left or a limit is reached.

    judged: returns what is found by now. end: what ``time.monotonic()`` may become. word: what unclear points are
    called where it is told that they are measured again.
    """
    config = points[0].config
    retries, times, attempts = config.check.retries, 1.0, 0
    while True:
        findings = judged()
        unclear = {one.key for one in findings if one.retryable}
        failed = failed_again(run)  # They would only fail once more.
        asked = [point for point in points if key_of(point) in unclear - failed.keys()]
        further = sum(_longer(point, 2 * times, run).config.timing.processes - 1 for point in asked)
        left = end - time.monotonic() - FURTHER_SECONDS * further
        most, limit = most_times(asked, seconds=left) if asked else (0.0, None)
        if not asked and config.timeout is not None and "timeout" in {failed.get(key) for key in unclear}:
            limit = f"timeout={config.timeout:g}"
        if asked and attempts == retries:
            most, limit = 0.0, f"check.retries={retries}"
        longer = min(2 * times, most)
        if longer < WORTH_IT * times:
            return Remeasured(findings=findings, limit=limit)
        times, attempts = longer, attempts + 1
        again = [_longer(point, times, run) for point in asked]
        timing = again[0].config.timing
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"{len(again)} of {len(points)} points are {word} and are measured again, each for up to "
            f"{timing.max_seconds:.3g} s" + (f" in {timing.processes} processes" if timing.processes > 1 else "")
        )
        _, pending = _measured(again, warned)
        if pending:
            return Remeasured(findings=judged(), limit=f"minutes={config.minutes:g}")


def most_times(points: Sequence[Point], *, seconds: float) -> tuple[float, str]:
    """Return how many times ``timing.max_seconds`` all the points can be measured again in so many seconds.

    No point is measured for longer than its ``timeout`` allows. Beside the number, which is 0 where nothing can be
    measured for longer, stands the option, with its value, that allows no more.
    """
    options = points[0].config.check
    timed = sum(point.config.timing.max_seconds for point in points)
    if not timed:
        return 0.0, "timing.max_seconds=0"
    limits = [
        ((point.config.timeout - SETUP_SECONDS) / point.config.timing.max_seconds, f"timeout={point.config.timeout:g}")
        for point in points
        if point.config.timeout is not None and point.config.timing.max_seconds
    ]
    return min([((seconds - SETUP_SECONDS * len(points)) / timed, f"check.minutes={options.minutes:g}"), *limits])


def _longer(point: Point, times: float, run: Path) -> Point:
    """Return the point timed for all of so many times the time, as another point of the same run.

    Where it has several processes it has so many times more, because more time narrows nothing that differs between
    them.
    """
    timing = point.config.timing
    processes = timing.processes if timing.processes == 1 else min(ceil(timing.processes * times), MOST_PROCESSES)
    timing = replace(timing, processes=processes, width=0.0, max_seconds=timing.max_seconds * times)
    return replace(point, config=replace(point.config, timing=timing, resume=str(run)))
