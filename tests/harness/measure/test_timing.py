"""Clocks and the timing of banks; the timing of predictions is tested in `test_pairing.py`."""

from __future__ import annotations

import torch

from harness.measure.timing import device_clock, timed_repeats
from harness.options.config import TimingConfig


def test_a_cpu_clock_goes_forward() -> None:
    clock = device_clock(torch.device("cpu"))
    first = clock()
    assert clock() >= first


def test_repeats_are_three_but_for_the_time_they_may_take() -> None:
    ticks = iter(float(tick) for tick in range(100))
    assert timed_repeats(lambda: None, clock=lambda: next(ticks), options=TimingConfig(block_seconds=9)) == [1, 1, 1]
    assert timed_repeats(lambda: None, clock=lambda: next(ticks), options=TimingConfig(block_seconds=1)) == [1, 1]
    assert timed_repeats(lambda: None, clock=lambda: next(ticks), options=TimingConfig(block_seconds=0)) == [1]
