"""The scenario of a job's calibration: two sides label the same pictures, each in batches of its own.

A call takes pixels, which are encoded and predicted, because both stages gain by batches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.measure.scenario import Findings, ReleasableSide
from harness.measure.speed_measurement import SpeedMeasurement
from harness.result import SideName
from strategies.base import Strategy
from strategies.vocabulary import Predictions, References

Masks = list[Predictions]
BLOCK_SECONDS = 0.2
"""A block passes over as many targets as take so long, where there are so many; and over a batch at least."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """A strategy with the number of targets that it is given at once."""

    strategy: Strategy
    batch: int

    def run(self, pixels: Tensor) -> Masks:
        model = self.strategy.model
        return [self.strategy.predict(model.encode_pixels(part)).cpu() for part in pixels.split(self.batch)]


class Prepared:
    """A side of a comparison, which prepares its strategy when it has to."""

    def __init__(self, side: Side, references: References, first: Tensor) -> None:
        self._side, self._references, self._first = side, references, first
        self._prepared = False

    def ready(self) -> None:
        if not self._prepared:
            self._side.strategy.prepare(self._references)
            self._prepared = True
            self.run(self._first)

    def run(self, pixels: Tensor) -> Masks:
        return self._side.run(pixels)

    def release(self) -> None:
        self._side.strategy.release()
        self._prepared = False
        if self._side.strategy.model.device.type == "cuda":
            torch.cuda.empty_cache()


class FirstTargets:
    """The first targets of a group, as work for two sides. pixels: ``[targets, 3, S, S]``."""

    name = "the first targets"

    def __init__(self, baseline: Side, candidate: Side, references: References, pixels: Tensor) -> None:
        self._sides: dict[SideName, Side] = {"baseline": baseline, "candidate": candidate}
        self._references = references
        self._pixels = pixels
        self._batch = max(baseline.batch, candidate.batch)

    @property
    def targets(self) -> int:
        return len(self._pixels)

    @property
    def first(self) -> Tensor:
        return self._pixels[: self._batch]

    def sides(self, *, paired: bool) -> dict[SideName, ReleasableSide[Tensor, Masks]]:
        return {
            name: Prepared(side, self._references, self.first)
            for name, side in self._sides.items()
            if paired or name == "candidate"
        }

    def block(self, *, seconds_per_call: float, paired: bool) -> Turns:
        times = max(1, int(BLOCK_SECONDS / max(seconds_per_call, 1e-9)))
        return Turns(self._pixels[: min(times * self._batch, self.targets // self._batch * self._batch)])

    def check_baseline(self, outputs: Masks) -> None:
        """Leave the masks to the harness: exact strategies are held to them there."""

    def close(self) -> None:
        """Keep nothing."""


class Turns:
    """A block's pictures, in another order in each turn."""

    def __init__(self, pixels: Tensor) -> None:
        self._pixels = pixels

    @property
    def targets(self) -> int:
        return len(self._pixels)

    @property
    def shapes(self) -> Sequence[Tensor]:
        return []

    def inputs(self, turn: int) -> Tensor:
        return self._pixels.roll(turn, dims=0)

    def check(self, turn: int, of_baseline: Masks | None, of_candidate: Masks) -> None:
        """Leave the masks to the harness, as `FirstTargets.check_baseline` does."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The scenario: the first targets, as one group."""

    targets: FirstTargets
    paired: bool = True

    def timed_groups(self) -> list[FirstTargets]:
        return [self.targets]

    def findings(self, timed: SpeedMeasurement, *, first: bool) -> Findings:
        return Findings()
