"""The second stage of a point: how fast, against the baseline strategy, on the same inputs in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch

from harness.measure.blocks import TargetBlock
from harness.measure.correctness import Meters
from harness.measure.pairing import Pairing, Rounds, StopRule, WarmUp, targets_per_block, warm_up
from harness.measure.timing import Clock
from harness.options.config import HarnessConfig
from harness.result import Block, SideName
from harness.stats.speedup import SpeedUp, estimate
from harness.workload.encode import EncodedGroup, Workload
from strategies.base import Strategy
from strategies.errors import out_of_memory
from strategies.vocabulary import Predictions, References, VisionFeatures

BATCHES_AT_ONCE = 4
"""That a sustained run gives the device before it waits for it, so that it never runs dry."""


@dataclass(frozen=True, kw_only=True)
class SpeedMeasurement:
    """What was timed. speedup is None where there was no pair; note says why, where there should have been one.

    fps: targets per second over all groups that were timed, by each group's median block.
    warm_ups: of each side, group by group. alternating: whether the two sides did not fit in memory together, so that
    each was prepared anew for its blocks.
    """

    blocks: list[Block] = field(repr=False)
    log_ratios: dict[str, list[float]]
    speedup: SpeedUp | None
    fps: float
    cpu_seconds_per_target: float
    converged: bool
    """Whether time, rounds and the width of the interval over all groups became what was asked for."""
    warm_ups: dict[str, dict[SideName, list[WarmUp]]]
    alternating: bool
    note: str | None


class TimedSide:
    """A strategy as one side of a pair, for one group at a time."""

    def __init__(self, strategy: Strategy, references: References, first: VisionFeatures) -> None:
        """first: a batch to be warm for, whenever the group has been prepared anew."""
        self.strategy = strategy
        self.opponent: TimedSide | None = None
        """Who has to leave the device before this side gets ready, where both do not fit."""
        self._references = references
        self._first = first
        self._prepared = False

    def ready(self) -> None:
        if self._prepared:
            return
        if self.opponent is not None:
            self.opponent.release()
        self.strategy.prepare(self._references)
        self._prepared = True
        self.strategy.predict(self._first)

    def run(self, batches: list[VisionFeatures]) -> list[Predictions]:
        return [self.strategy.predict(batch) for batch in batches]

    def release(self) -> None:
        """Leave the device."""
        self.strategy.release()
        self._prepared = False
        if self._first.embedding.is_cuda:
            torch.cuda.empty_cache()


def measure_speed(
    config: HarnessConfig,
    workload: Workload,
    candidate: Strategy,
    baseline: Strategy | None,
    *,
    expected: list[Predictions] | None,
    meters: Meters,
    clock: Clock,
) -> SpeedMeasurement:
    """Time the candidate, against the baseline where there is one, on up to ``timing.groups`` groups.

    Masks of the timed blocks go into ``meters.repeated``: compared with the baseline's of the same round where it is
    exact, with the expected ones (of `sequential`, None = do not compare) else.
    """
    chosen = spread(len(workload.groups), config.timing.groups)
    rule = StopRule.for_each_of(len(chosen), config.timing)
    timer = _GroupTimer(config, candidate, baseline, meters=meters, clock=clock, rule=rule)
    timed = {}
    for index in chosen:
        encoded = workload.groups[index]
        timed[encoded.group.name] = timer.time_group(
            encoded, workload.model.device, None if expected is None else expected[index]
        )
    targets = {workload.groups[index].group.name: len(workload.groups[index].targets) for index in chosen}
    return _summary(timed, targets, timer, rule, config)


@dataclass(frozen=True, kw_only=True)
class Sustained:
    """A stretch in which the candidate ran alone, without a pause, on the same targets again and again."""

    targets: int
    seconds: float


def run_sustained(
    config: HarnessConfig, workload: Workload, candidate: Strategy, *, clock: Clock, begin: Callable[[], None]
) -> Sustained:
    """For ``timing.sustained_seconds``, so that counters with windows of up to a second show this strategy alone.

    begin: called when the candidate is prepared and warm.
    """
    encoded, device = workload.groups[0], workload.model.device
    batch = encoded.targets[: config.batch].clone().to(device)
    candidate.prepare(encoded.references(device, config.objects))
    candidate.predict(batch)
    clock()  # waits for the device
    begin()
    targets, began = 0, clock()
    while (now := clock()) - began < config.timing.sustained_seconds:
        for _ in range(BATCHES_AT_ONCE):
            candidate.predict(batch)
        targets += BATCHES_AT_ONCE * len(batch)
    candidate.release()
    return Sustained(targets=targets, seconds=now - began)


def spread(available: int, most: int) -> list[int]:
    """Indices of at most ``most`` out of ``available`` things, evenly spread."""
    count = min(available, most)
    return [index * available // count for index in range(count)]


class _GroupTimer:
    """Times the groups of one point, one after another.

    Both sides are together on the device where they fit, else in turns, else the candidate is timed alone.
    """

    def __init__(
        self,
        config: HarnessConfig,
        candidate: Strategy,
        baseline: Strategy | None,
        *,
        meters: Meters,
        clock: Clock,
        rule: StopRule,
    ) -> None:
        self._config = config
        self._candidate = candidate
        self._baseline = baseline
        self._meters = meters
        self._clock = clock
        self._rule = rule
        self.warm_ups: dict[str, dict[SideName, list[WarmUp]]] = {}
        self.alternating = False
        self.note: str | None = None

    def time_group(self, encoded: EncodedGroup, device: torch.device, expected: Predictions | None) -> Rounds:
        while True:
            try:
                return self._attempt(encoded, device, expected)
            except Exception as error:
                if self._baseline is None or not out_of_memory(error):
                    raise
                if self.alternating:
                    self._baseline = None
                    self.note = "the baseline strategy ran out of memory, so there is no speed-up"
                self.alternating = True

    def _attempt(self, encoded: EncodedGroup, device: torch.device, expected: Predictions | None) -> Rounds:
        references = encoded.references(device, self._config.objects)
        first = encoded.targets[: self._config.batch].clone().to(device)
        candidate = TimedSide(self._candidate, references, first)
        sides: dict[SideName, TimedSide] = {"candidate": candidate}
        baseline = None
        if self._baseline is not None:
            baseline = sides["baseline"] = TimedSide(self._baseline, references, first)
            if self.alternating:
                baseline.opponent, candidate.opponent = candidate, baseline
        try:
            self._warm(encoded, sides, first)
            block = self._block(encoded, device, baseline, first)
            tail = block.inputs(0)[-1]
            if len(tail) != len(first):
                self._warm(encoded, sides, tail)
            if baseline is not None and expected is not None:
                baseline.ready()
                self._meters.baseline.update(encoded.group.name, expected[: len(first)], baseline.run([first])[0])
            pairing = self._pairing(encoded, block, expected)
            return pairing.alone(candidate) if baseline is None else pairing.paired(baseline, candidate)
        finally:
            for side in sides.values():
                side.release()

    def _warm(self, encoded: EncodedGroup, sides: dict[SideName, TimedSide], inputs: VisionFeatures) -> None:
        noted = self.warm_ups.setdefault(encoded.group.name, {})
        for name, side in sides.items():
            side.ready()
            warmed = warm_up(
                partial(side.run, [inputs]), clock=self._clock, max_seconds=self._config.timing.warmup_seconds
            )
            noted.setdefault(name, []).append(warmed)

    def _block(
        self, encoded: EncodedGroup, device: torch.device, baseline: TimedSide | None, first: VisionFeatures
    ) -> TargetBlock:
        config = self._config
        bytes_per_mask = first.stride4[0, 0].numel() * 4  # fp32 logits have the size of the stride-4 level
        objects = len(encoded.group.object_ids[: config.objects])
        count = targets_per_block(
            targets=len(encoded.targets),
            batch=config.batch,
            seconds_per_batch=max(warmed[-1].seconds[-1] for warmed in self.warm_ups[encoded.group.name].values()),
            bytes_per_target=_bytes(first) // len(first) + objects * bytes_per_mask,
            options=config.timing,
        )
        moving = baseline is not None and baseline.strategy.exact
        return TargetBlock(encoded, count=count, batch=config.batch, device=device, moving=moving)

    def _pairing(
        self, encoded: EncodedGroup, block: TargetBlock, expected: Predictions | None
    ) -> Pairing[list[VisionFeatures], list[Predictions]]:
        def check(turn: int, of_baseline: list[Predictions] | None, of_candidate: list[Predictions]) -> None:
            if expected is None:
                return
            if block.moving:
                assert of_baseline is not None
                wanted = Predictions.concatenate(of_baseline)
            else:
                wanted = block.expected(turn, expected)
            self._meters.repeated.update(encoded.group.name, wanted, Predictions.concatenate(of_candidate))

        return Pairing(
            group=encoded.group.name,
            targets=block.count,
            inputs=block.inputs,
            check=check,
            clock=self._clock,
            cpu_clock=time.process_time,
            rule=self._rule,
            seed=self._config.seed,
        )


def _bytes(features: VisionFeatures) -> int:
    return sum(level.nbytes for level in (features.embedding, features.stride4, features.stride8))


def _summary(
    timed: dict[str, Rounds], targets: dict[str, int], timer: _GroupTimer, rule: StopRule, config: HarnessConfig
) -> SpeedMeasurement:
    blocks = [block for rounds in timed.values() for block in rounds.blocks]
    log_ratios = {group: rounds.log_ratios for group, rounds in timed.items() if rounds.log_ratios}
    per_target = {group: median(_per_target(rounds, "candidate")) for group, rounds in timed.items()}
    speedup = None
    if len(log_ratios) == len(timed):
        weights = [targets[group] * median(_per_target(rounds, "baseline")) for group, rounds in timed.items()]
        speedup = estimate(list(log_ratios.values()), weights, seed=config.seed)
    of_candidate = [block for block in blocks if block.side == "candidate"]
    return SpeedMeasurement(
        blocks=blocks,
        log_ratios=log_ratios,
        speedup=speedup,
        fps=sum(targets.values()) / sum(targets[group] * seconds for group, seconds in per_target.items()),
        cpu_seconds_per_target=sum(one.cpu_seconds for one in of_candidate) / sum(one.targets for one in of_candidate),
        converged=_long_enough(timed, rule) and (speedup is None or _narrow(speedup, config.timing.width)),
        warm_ups=timer.warm_ups,
        alternating=timer.alternating,
        note=timer.note,
    )


def _long_enough(timed: dict[str, Rounds], rule: StopRule) -> bool:
    """Whether each group had its time and its rounds; how narrow its own interval is does not matter."""
    return all(
        rule.enough(timed=sum(block.seconds for block in rounds.blocks), rounds=rounds.count, width=0.0)
        for rounds in timed.values()
    )


def _narrow(speedup: SpeedUp, width: float) -> bool:
    return speedup.width is not None and speedup.width <= width


def _per_target(rounds: Rounds, side: str) -> Sequence[float]:
    return [block.seconds / block.targets for block in rounds.blocks if block.side == side]
