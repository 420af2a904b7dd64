"""How long single steps take, and how unevenly: the device is waited for after each, as a camera's user waits."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from harness.measure.streams.courses import follow
from harness.measure.streams.scenario import StreamWork
from harness.measure.timing import Clock
from strategies.streams.base import StreamStrategy

LEAST_STEPS = 100
"""So many steps are timed, for one in a hundred to show."""


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The seconds of each step in which every slot had a video, in order."""

    seconds: list[float] = field(repr=False)

    def columns(self) -> dict[str, float]:
        """Return percentiles and jitter, which is the mean difference of a step from the one before it."""
        p50, p95, p99 = (float(one) for one in np.percentile(self.seconds, (50, 95, 99)))
        changes = np.abs(np.diff(self.seconds))
        return {
            "step_p50_ms": 1000 * p50,
            "step_p95_ms": 1000 * p95,
            "step_p99_ms": 1000 * p99,
            **({"step_jitter_ms": 1000 * fmean(changes)} if len(changes) else {}),
        }


def time_steps(strategy: StreamStrategy, work: StreamWork, *, videos: int, seconds: float, clock: Clock) -> Latency:
    """Time the steps of whole stretches, until there are enough of them or the time is over, of one stretch at least.

    Steps that label a frame count as the others do, because a user waits for them as well.
    """
    found: list[float] = []
    turn, began = 0, clock()
    while not found or (len(found) < LEAST_STEPS and clock() - began < seconds):
        stretch = work.stretch(turn, most=work.most)
        start = clock()
        for numbers, _ in follow(strategy, stretch.courses, videos=videos):
            now = clock()
            if len(numbers) == videos:
                found.append(now - start)
            start = now
        strategy.release()
        turn += 1
    return Latency(seconds=found)
