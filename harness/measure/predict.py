"""The scenario ``predict``: a closed set of targets for each group, in any order, a batch at a time.

A call takes a list of batches; a block is a fixed set of a group's targets, cut into batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from harness.data.group import evenly
from harness.measure.blocks import TargetBlock, targets_per_block
from harness.measure.correctness import Meters
from harness.measure.scenario import Findings, ReleasableSide
from harness.measure.speed_measurement import SpeedMeasurement
from harness.options.config import HarnessConfig
from harness.result import SideName
from harness.workload.encode import EncodedGroup, Workload, changed, same_bits
from strategies.base import Strategy
from strategies.vocabulary import Predictions, References, VisionFeatures

Batches = list[VisionFeatures]
Masks = list[Predictions]


class Predict:
    """The work of a point that predicts the targets of its workload's groups."""

    def __init__(
        self,
        config: HarnessConfig,
        workload: Workload,
        *,
        candidate: Strategy,
        baseline: Strategy | None,
        expected: Sequence[Predictions] | None,
        meters: Meters,
    ) -> None:
        """Take what the timed blocks need.

        expected: what `sequential` predicts for each group; None where nothing is compared. meters: record how far the
        masks of timed blocks agree with those of the baseline in the same round where that is exact, with the expected
        ones else.
        """
        self._config = config
        self._workload = workload
        self._strategies: dict[SideName, Strategy] = {"candidate": candidate}
        if baseline is not None:
            self._strategies["baseline"] = baseline
        self._expected = expected
        self._meters = meters

    @property
    def paired(self) -> bool:
        return "baseline" in self._strategies

    def timed_groups(self) -> list[GroupPredictions]:
        """Return the work of at most ``timing.groups`` groups, spread over all."""
        return [self._group(index) for index in evenly(range(len(self._workload.groups)), self._config.timing.groups)]

    def findings(self, timed: SpeedMeasurement, *, first: bool) -> Findings:
        """Return nothing: the meters have it all."""
        return Findings()

    def _group(self, index: int) -> GroupPredictions:
        """Return the work of one of the workload's groups."""
        return GroupPredictions(
            self._config,
            self._workload.groups[index],
            device=self._workload.model.device,
            strategies=self._strategies,
            expected=None if self._expected is None else self._expected[index],
            meters=self._meters,
        )


class GroupPredictions:
    """The work that is timed of one group."""

    def __init__(
        self,
        config: HarnessConfig,
        encoded: EncodedGroup,
        *,
        device: torch.device,
        strategies: dict[SideName, Strategy],
        expected: Predictions | None,
        meters: Meters,
    ) -> None:
        self._config = config
        self._encoded = encoded
        self._device = device
        self._strategies = strategies
        self._expected = expected
        self._meters = meters
        self._first: Batches | None = None
        self._given: dict[SideName, References] = {}

    @property
    def name(self) -> str:
        return self._encoded.group.name

    @property
    def targets(self) -> int:
        return len(self._encoded.targets)

    @property
    def first(self) -> Batches:
        if self._first is None:
            self._first = [self._encoded.targets[: self._config.batch].clone().to(self._device)]
        return self._first

    def sides(self, *, paired: bool) -> dict[SideName, ReleasableSide[Batches, Masks]]:
        self._given = {
            name: self._encoded.references(self._device, self._config.objects)
            for name in self._strategies
            if paired or name == "candidate"
        }
        return {
            name: PreparedStrategy(self._strategies[name], references, self.first)
            for name, references in self._given.items()
        }

    def block(self, *, seconds_per_call: float, paired: bool) -> PredictionBlock:
        (first,) = self.first
        bytes_per_mask = first.stride4[0, 0].numel() * 4  # The fp32 logits have the size of the stride-4 level.
        objects = len(self._encoded.group.object_ids[: self._config.objects])
        count = targets_per_block(
            targets=self.targets,
            batch=self._config.batch,
            seconds_per_batch=seconds_per_call,
            bytes_per_target=_bytes(first) // len(first) + objects * bytes_per_mask,
            options=self._config.timing,
        )
        # A baseline that is exact predicts what is right for any input, in the same round.
        moving = paired and self._strategies["baseline"].exact
        block = TargetBlock(self._encoded, count=count, batch=self._config.batch, device=self._device, moving=moving)
        return PredictionBlock(self.name, block, expected=self._expected, meters=self._meters)

    def check_baseline(self, outputs: Masks) -> None:
        if self._expected is not None:
            (first,), (found,) = self.first, outputs
            self._meters.baseline.update(
                self.name,
                self._expected[: len(first)],
                found.cpu(),
                target=lambda place: self._encoded.targets[place : place + 1],
            )

    def close(self) -> None:
        original = self._encoded.references(self._device, self._config.objects)
        for references in self._given.values():
            self._meters.changed_inputs.extend(f"{what} while timed" for what in changed(references, original))
        self._given = {}
        self._first = None


class PredictionBlock:
    """A fixed set of a group's targets, whose masks are compared after each turn."""

    def __init__(self, group: str, block: TargetBlock, *, expected: Predictions | None, meters: Meters) -> None:
        self._group = group
        self._block = block
        self._expected = expected
        self._meters = meters
        self._given: Batches = []

    @property
    def targets(self) -> int:
        return self._block.count

    def inputs(self, turn: int) -> Batches:
        self._given = self._block.inputs(turn)
        return self._given

    @property
    def shapes(self) -> list[Batches]:
        """The last batch, where it is smaller than the others."""
        batches = self._block.inputs(0)
        return [batches[-1:]] if len(batches[-1]) != len(batches[0]) else []

    def check(self, turn: int, of_baseline: Masks | None, of_candidate: Masks) -> None:
        batches, self._given = self._given, []  # The next turn's are made without these beside them.
        if self._expected is None:
            return
        start = 0
        for index, (given, actual) in enumerate(zip(batches, of_candidate, strict=True)):
            chosen = slice(start, start + len(given))
            if not same_bits(given, self._block.features(turn, chosen)):
                self._meters.changed_inputs.append("the targets' features while timed")
            if self._block.moving:
                assert of_baseline is not None
                wanted = of_baseline[index]
            else:
                wanted = self._block.expected(turn, self._expected)[chosen]
            self._meters.repeated.update(self._group, wanted, actual, target=self._target(turn, start))
            if of_baseline is not None and not self._block.moving:
                self._meters.baseline_repeated.update(
                    self._group, wanted, of_baseline[index], target=self._target(turn, start)
                )
            start = chosen.stop

    def _target(self, turn: int, start: int) -> Callable[[int], VisionFeatures]:
        return lambda place: self._block.features(turn, slice(start + place, start + place + 1))


class PreparedStrategy:
    """A strategy as one side of a pair, for one group at a time."""

    def __init__(self, strategy: Strategy, references: References, first: Batches) -> None:
        """Take ``first``, with which the strategy is warmed up whenever the group has been prepared anew."""
        self._strategy = strategy
        self._references = references
        self._first = first
        self._prepared = False

    def ready(self) -> None:
        if not self._prepared:
            self._strategy.prepare(self._references)
            self._prepared = True
            self.run(self._first)

    def run(self, batches: Batches) -> Masks:
        return [self._strategy.predict(batch) for batch in batches]

    def release(self) -> None:
        self._strategy.release()
        self._prepared = False
        if self._first[0].embedding.is_cuda:
            torch.cuda.empty_cache()


def _bytes(features: VisionFeatures) -> int:
    return sum(level.nbytes for level in (features.embedding, features.stride4, features.stride8))
