"""Clocks, which tests replace by fake ones, and the timing of things that are done once in a while."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from harness.options.config import TimingConfig

Clock = Callable[[], float]
"""A function that returns the seconds since some fixed moment."""

REPEATS = 3


def device_clock(device: torch.device) -> Clock:
    """Return a wall clock that first waits for the device to finish what it was given."""
    if device.type != "cuda":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def timed_repeats(action: Callable[[], object], *, clock: Clock, options: TimingConfig) -> list[float]:
    """Return the seconds of three calls, or of fewer where ``block_seconds`` are over, but of one at least."""
    seconds: list[float] = []
    while len(seconds) < REPEATS and sum(seconds) <= options.block_seconds:
        start = clock()
        action()
        seconds.append(clock() - start)
    return seconds
