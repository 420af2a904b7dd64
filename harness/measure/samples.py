"""Samples of a call's time that are long enough for launches and waits for the device not to show."""

from __future__ import annotations

from collections.abc import Callable

from harness.measure.timing import Clock

SAMPLE_SECONDS = 0.005
"""The least length of a sample, in which a call's launch and the wait for the device do not show."""


def calls_of_a_sample(action: Callable[[], object], clock: Clock) -> int:
    """Return how many calls last as long as a sample should, in the faster of two tries."""
    calls = 1
    while min(seconds_of(action, calls, clock) for _ in range(2)) < SAMPLE_SECONDS:
        calls *= 2
    return calls


def seconds_of(action: Callable[[], object], calls: int, clock: Clock) -> float:
    """Return the seconds that so many calls take together."""
    start = clock()
    for _ in range(calls):
        action()
    return clock() - start
