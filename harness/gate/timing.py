"""Measuring the gate's points, and again what stays unclear, or too uncertain for a snapshot.

Each time it is measured for twice as long, and in twice as many processes where it has several. What the snapshot's
own interval keeps unclear is not: no time would decide it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from rich.console import Console

from harness.cli import measure
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
    refuse_duplicate_keys((key_of(point), point.name) for point in points)
    code, run = measure(points, warned=warned)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    return run.path


def measure_unclear_longer(
    run: Path, points: Sequence[Point], warned: set[str], judged: Callable[[], list[Finding]], *, end: float
) -> list[Finding]:
    """Return what was found in the run, after its unclear points were measured longer.

    judged: returns what is found by now. end: what ``time.monotonic()`` may become.
    """
    retries, times, attempts = points[0].config.check.retries, 1.0, 0
    while True:
        findings = judged()
        unclear = {one.key for one in findings if one.retryable}
        asked = [point for point in points if key_of(point) in unclear]
        further = sum(_longer(point, 2 * times, run).config.timing.processes - 1 for point in asked)
        left = end - time.monotonic() - FURTHER_SECONDS * further
        longer = min(2 * times, most_times(asked, seconds=left))
        if attempts == retries or longer < WORTH_IT * times:
            return findings
        times, attempts = longer, attempts + 1
        again = [_longer(point, times, run) for point in asked]
        timing = again[0].config.timing
        Console(stderr=True, soft_wrap=True, highlight=False).print(
            f"{len(again)} of {len(points)} points are unclear and are measured again, each for up to "
            f"{timing.max_seconds:.3g} s" + (f" in {timing.processes} processes" if timing.processes > 1 else "")
        )
        measure_points(again, warned)


def most_times(points: Sequence[Point], *, seconds: float) -> float:
    """Return how many times ``timing.max_seconds`` all the points can be measured again in so many seconds.

    No point is measured for longer than its ``timeout`` allows. Returns 0 where nothing can be measured for longer.
    """
    timed = sum(point.config.timing.max_seconds for point in points)
    if not timed:
        return 0.0
    found = (seconds - SETUP_SECONDS * len(points)) / timed
    limits = [
        (point.config.timeout - SETUP_SECONDS) / point.config.timing.max_seconds
        for point in points
        if point.config.timeout is not None and point.config.timing.max_seconds
    ]
    return min([found, *limits])


def _longer(point: Point, times: float, run: Path) -> Point:
    """Return the point timed for all of so many times the time, as another point of the same run.

    Where it has several processes it has so many times more, because more time narrows nothing that differs between
    them.
    """
    timing = point.config.timing
    processes = timing.processes if timing.processes == 1 else min(ceil(timing.processes * times), MOST_PROCESSES)
    timing = replace(timing, processes=processes, width=0.0, max_seconds=timing.max_seconds * times)
    return replace(point, config=replace(point.config, timing=timing, resume=str(run)))
