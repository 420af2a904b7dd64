"""Timed passes over a fixed set of targets. Knows neither models nor files; the clock can be a fake one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

import torch

from harness.config import TimingConfig

Clock = Callable[[], float]
"""Seconds since some fixed moment."""

Batch = TypeVar("Batch")
Output = TypeVar("Output")


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One timed call: ``targets`` targets from ``first`` on, in pass ``pass_number`` over their group."""

    group: str
    pass_number: int
    first: int
    targets: int
    seconds: float


def device_clock(device: torch.device) -> Clock:
    """Wall clock that first waits for the device to finish what it was given."""
    if device.type != "cuda":
        return time.perf_counter

    def clock() -> float:
        torch.cuda.synchronize(device)
        return time.perf_counter()

    return clock


def timed_passes(
    *,
    group: str,
    targets: int,
    batch: int,
    load: Callable[[slice], Batch],
    predict: Callable[[Batch], Output],
    check: Callable[[slice, Output], None],
    clock: Clock,
    options: TimingConfig,
) -> list[Sample]:
    """Passes over all targets until both minima of ``options`` are reached; every sample, in order.

    Loading a batch and checking its output happen outside the clock. A first pass is not timed: it warms up every
    batch shape. It is checked like the others.
    """
    slices = [slice(first, min(first + batch, targets)) for first in range(0, targets, batch)]
    for chosen in slices:
        check(chosen, predict(load(chosen)))
    samples: list[Sample] = []
    measured, began, pass_number = 0.0, clock(), 0
    while pass_number < options.min_passes or measured < options.min_seconds:
        if pass_number > 0 and clock() - began >= options.max_seconds:
            break
        for chosen in slices:
            inputs = load(chosen)
            start = clock()
            output = predict(inputs)
            seconds = clock() - start
            check(chosen, output)
            count = chosen.stop - chosen.start
            samples.append(
                Sample(group=group, pass_number=pass_number, first=chosen.start, targets=count, seconds=seconds)
            )
            measured += seconds
        pass_number += 1
    return samples


def timed_repeats(action: Callable[[], None], *, clock: Clock, options: TimingConfig) -> list[float]:
    """Seconds of ``min_passes`` calls, fewer where ``max_seconds`` are over."""
    seconds: list[float] = []
    while len(seconds) < options.min_passes and sum(seconds) < options.max_seconds:
        start = clock()
        action()
        seconds.append(clock() - start)
    return seconds


def frames_per_second(samples: list[Sample]) -> float:
    """Targets per second over all groups: each group's median pass counts."""
    passes: dict[str, dict[int, float]] = {}
    targets: dict[str, int] = {}
    for sample in samples:
        of_group = passes.setdefault(sample.group, {})
        of_group[sample.pass_number] = of_group.get(sample.pass_number, 0.0) + sample.seconds
        if sample.pass_number == 0:
            targets[sample.group] = targets.get(sample.group, 0) + sample.targets
    return sum(targets.values()) / sum(median(seconds.values()) for seconds in passes.values())
