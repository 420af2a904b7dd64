"""The speed of a point over all its groups and processes."""

from __future__ import annotations

import math

import pytest

from harness.measure.pooled import Pooled, Timed
from harness.options.config import TimingConfig
from harness.result import Block

OPTIONS = TimingConfig(processes=2, min_seconds=2.0, min_rounds=16, width=0.1)
"""Options that ask each of two processes for a second, and for eight rounds."""


def timed(*, seconds: float = 0.5, rounds: int = 8, speedup: float = 2.0, group: str = "moths") -> Timed:
    """Return a process's rounds, each of a block of the candidate and one that took as much longer."""
    blocks = [
        Block(group=group, round=at, place=place, side=side, targets=4, seconds=taken, cpu_seconds=taken)  # type: ignore[arg-type]
        for at in range(rounds)
        for place, (side, taken) in enumerate([("baseline", seconds * speedup), ("candidate", seconds)])
    ]
    return Timed(blocks=blocks, log_ratios={group: [math.log(speedup)] * rounds})


def pooled(*processes: Timed) -> Pooled:
    return Pooled.of(processes, {"moths": 4}, OPTIONS, seed=0)


def test_speed_and_speed_up_are_those_of_all_processes() -> None:
    found = pooled(timed(), timed())
    assert found.speedup is not None
    assert found.speedup.ratio == pytest.approx(2.0)
    assert (found.fps, found.cpu_seconds_per_target, found.converged) == (8.0, 0.125, True)


@pytest.mark.parametrize("last", [timed(rounds=7), timed(seconds=0.01), timed(speedup=4.0)])
def test_it_has_not_converged_where_one_process_had_too_little_or_another_speed(last: Timed) -> None:
    assert not pooled(timed(), last).converged
    assert not pooled(last, timed()).converged


def test_without_pairs_in_one_process_there_is_no_speed_up() -> None:
    alone = Timed(blocks=[block for block in timed().blocks if block.side == "candidate"], log_ratios={})
    assert pooled(timed(), alone).speedup is None
    assert pooled(alone, alone).converged, "time and rounds were enough"
