"""Which strategy and batch label a job's pictures fastest here, measured in pairs on its first targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.job.comparison import Comparison, FirstTargets, Side
from harness.measure.making import make_strategy
from harness.measure.speed import measure_speed
from harness.measure.timing import Clock, device_clock
from harness.observe.memory import PeakMemory, free_mb, in_use_mb
from harness.options.config import TimingConfig
from harness.options.points import Point
from harness.pipeline.plan import Work
from harness.pipeline.references import references_of
from harness.stats.speedup import SpeedUp, verdict
from strategies.errors import UserError
from strategies.models.tracker import Tracker
from strategies.vocabulary import References

LARGEST = 32
"""Targets that are measured on, and the largest batch that is tried."""
SHARE, MOST_SECONDS, LEAST_SECONDS = 0.05, 60.0, 2.0
"""Measuring takes at most so much of the job's time, and so many seconds; where it would have less, nothing is."""
SHARE_OF_FREE = 0.5
"""A batch may take so much of the memory that is free."""
PASSES = 8
"""A comparison passes over its targets at least so often, warm-up included."""
TIMING = TimingConfig(min_seconds=0.5, min_rounds=3, width=0.1, max_seconds=4.0, warmup_seconds=0.5, block_seconds=0.2)


@dataclass(frozen=True, kw_only=True)
class Tried:
    """One comparison. winner, loser: points in words. speedup: the winner's over the loser."""

    winner: str
    loser: str
    speedup: SpeedUp

    def __str__(self) -> str:
        one = self.speedup
        between = "" if one.lo is None or one.hi is None else f" ({one.lo:.2f} to {one.hi:.2f})"
        doubt = "" if verdict(one, band=TIMING.same) == "faster" else ", which is not clear"
        return f"{self.winner} is {one.ratio:.2f} times{between} as fast as {self.loser}{doubt}"


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a calibration comes to. untried: points that could not be compared, in words."""

    point: Point
    tried: Sequence[Tried] = field(default=())
    untried: Sequence[str] = field(default=())


Compare = Callable[[Point, Point], SpeedUp | None]
"""A function that measures the second point's speed over the first one's; None where it can't be measured."""


def named(point: Point) -> str:
    return f"{point.strategy} batch={point.config.batch}"


def search(
    first: Point, others: Sequence[Point], *, resized: Callable[[Point, int], Point] | None, compare: Compare
) -> Found:
    """Compare a first point with the others, then the fastest with larger batches and, failing that, smaller ones.

    resized: returns a point with another batch; None where the batch is given. Who is not clearly faster does not win.
    """
    best, tried, untried = first, [], []

    def wins(candidate: Point) -> bool:
        speedup = compare(best, candidate)
        if speedup is None:
            untried.append(named(candidate))
            return False
        won = verdict(speedup, band=TIMING.same) == "faster"
        names = (named(candidate), named(best)) if won else (named(best), named(candidate))
        tried.append(Tried(winner=names[0], loser=names[1], speedup=speedup if won else _inverse(speedup)))
        return won

    for other in others:
        if wins(other):
            best = other
    if resized is not None:
        begun = best.config.batch
        for factor in (2.0, 0.5):
            while 1 <= (batch := int(factor * best.config.batch)) <= LARGEST and wins(other := resized(best, batch)):
                best = other
            if best.config.batch != begun:
                break
    return Found(point=best, tried=tuple(tried), untried=tuple(untried))


def _inverse(speedup: SpeedUp) -> SpeedUp:
    ends = (None, None) if speedup.lo is None or speedup.hi is None else (1 / speedup.hi, 1 / speedup.lo)
    return SpeedUp(ratio=1 / speedup.ratio, lo=ends[0], hi=ends[1], rounds=speedup.rounds)


class Calibration:
    """Comparisons on the first targets of a group that can be read. Raises UserError where there is none."""

    def __init__(self, work: Work, model: Tracker, *, targets: int, seconds: float | None, seed: int) -> None:
        """targets: the job's. seconds: that measuring may take; None for a share of the job's own time."""
        self._model, self._seed = model, seed
        self._clock: Clock = device_clock(model.device)
        self._began = self._clock()
        self._references: References = references_of(work, model)
        self._frames = work.group.targets[:LARGEST]
        first = next(self._readable(), None)
        if first is None:
            raise UserError(f"group {work.group.name} has no target among the first that can be read")
        self._one = first[None]
        self._targets, self._seconds = targets, seconds
        self._pixels: Tensor | None = None

    def worth_it(self, point: Point) -> bool:
        """Return whether there is time to measure anything, by what a target takes with a point's strategy."""
        with make_strategy(point.config.strategy, self._model) as strategy:
            expected = self._seconds_of(Side(strategy=strategy, batch=1), self._one) * self._targets
        if self._seconds is None:
            self._seconds = min(SHARE * expected, MOST_SECONDS)
            return self._seconds >= LEAST_SECONDS
        return self._seconds > 0

    def usable(self, point: Point, *, exact: bool) -> bool:
        """Return whether a strategy can be made here; with ``exact``, whether it promises the masks of `sequential`."""
        try:
            with make_strategy(point.config.strategy, self._model) as strategy:
                return strategy.exact or not exact
        except Exception:  # Whatever is wrong with a strategy that nobody asked for, the job goes on without it.
            return False

    def compare(self, best: Point, candidate: Point) -> SpeedUp | None:
        """Measure a candidate's speed over the best so far.

        It is None where time or memory is not enough, where even an ideal gain by its batch would leave the candidate
        behind, and where it fails.
        """
        if candidate.config.batch > len(self._frames):
            return None
        try:
            strategies = [make_strategy(point.config.strategy, self._model) for point in (best, candidate)]
            with strategies[0], strategies[1]:
                sides = [
                    Side(strategy=strategy, batch=point.config.batch)
                    for strategy, point in zip(strategies, (best, candidate), strict=True)
                ]
                return self._compared(*sides)
        except Exception:  # The search goes on, as in `usable`; if the best failed, the job itself will tell.
            return None

    def _compared(self, best: Side, candidate: Side) -> SpeedUp | None:
        alone = self._seconds_of(candidate, self._one)
        if PASSES * alone * max(best.batch, candidate.batch) > self._left:
            return None
        first = self._read()[: best.batch]
        if alone / candidate.batch > self._seconds_of(best, first) / len(first):
            return None
        if candidate.batch > best.batch and not self._fits(best, candidate.batch):
            return None
        if candidate.batch > len(self._read()):
            return None
        targets = FirstTargets(best, candidate, self._references, self._read())
        timed = measure_speed(Comparison(targets=targets), TIMING, seed=self._seed, clock=self._clock)
        return timed.pooled.speedup

    @property
    def _left(self) -> float:
        assert self._seconds is not None
        return self._seconds - (self._clock() - self._began)

    def _seconds_of(self, side: Side, pixels: Tensor) -> float:
        """Return what a side takes for some targets, once it is warm."""
        side.strategy.prepare(self._references)
        side.run(pixels)
        began = self._clock()
        side.run(pixels)
        taken = self._clock() - began
        side.strategy.release()
        return taken

    def _fits(self, side: Side, batch: int) -> bool:
        """Return whether a larger batch leaves half of the free memory, by what a side takes for its own."""
        device, pixels = self._model.device, self._read()[: side.batch]
        side.strategy.prepare(self._references)
        side.run(pixels[:1])
        before, peak = in_use_mb(device), PeakMemory(device)
        side.run(pixels)
        peaks = peak.read()
        side.strategy.release()
        highest, free = peaks.allocated if device.type == "cuda" else peaks.rss, free_mb(device)
        if highest is None or before is None or free is None:
            return True
        return max(highest - before, 0.0) / len(pixels) * batch <= SHARE_OF_FREE * free

    def _read(self) -> Tensor:
        """Return the targets' pixels, ``[targets, 3, S, S]``."""
        if self._pixels is None:
            self._pixels = torch.stack(list(self._readable()))
        return self._pixels

    def _readable(self) -> Iterator[Tensor]:
        """Yield the pixels of each target that can be read; of the others the job itself tells."""
        for frame in self._frames:
            with suppress(UserError):
                yield self._model.pixels(frame.image())
