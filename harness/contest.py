"""The second stage of a point: how fast, against the reference strategy, on the same inputs in the same process."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from statistics import median

import torch

from harness.blocks import TargetBlock
from harness.config import HarnessConfig
from harness.pairing import Block, Pairing, Rounds, SideName, StopRule, WarmUp, targets_per_block, warm_up
from harness.speedup import SpeedUp, estimate
from harness.timing import Clock
from harness.verification import Meters
from harness.workload import EncodedGroup, Workload
from strategies.base import Strategy
from strategies.errors import out_of_memory
from strategies.vocabulary import Predictions, References, VisionFeatures

BATCHES_AT_ONCE = 4
"""That a sustained run gives the device before it waits for it, so that it never runs dry."""


@dataclass(frozen=True, kw_only=True)
class Contest:
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


class Contestant:
    """A strategy as one side of a contest, for one group at a time."""

    def __init__(self, strategy: Strategy, references: References, first: VisionFeatures) -> None:
        """first: a batch to be warm for, whenever the group has been prepared anew."""
        self.strategy = strategy
        self.rival: Contestant | None = None
        """Who has to leave the device before this side gets ready, where both do not fit."""
        self._references = references
        self._first = first
        self._prepared = False

    def ready(self) -> None:
        if self._prepared:
            return
        if self.rival is not None:
            self.rival.park()
        self.strategy.prepare(self._references)
        self._prepared = True
        self.strategy.predict(self._first)

    def run(self, batches: list[VisionFeatures]) -> list[Predictions]:
        return [self.strategy.predict(batch) for batch in batches]

    def park(self) -> None:
        """Leave the device."""
        self.strategy.release()
        self._prepared = False
        if self._first.embedding.is_cuda:
            torch.cuda.empty_cache()


def hold_contest(
    config: HarnessConfig,
    workload: Workload,
    candidate: Strategy,
    reference: Strategy | None,
    *,
    expected: list[Predictions] | None,
    meters: Meters,
    clock: Clock,
) -> Contest:
    """Time the candidate, against the reference where there is one, on up to ``timing.groups`` groups.

    Masks of the timed blocks go into ``meters.repeated``: compared with the reference's of the same round where it is
    exact, with the expected ones (of `sequential`, None = do not compare) else.
    """
    chosen = spread(len(workload.groups), config.timing.groups)
    rule = StopRule.for_each_of(len(chosen), config.timing)
    ring = _Ring(config, candidate, reference, meters=meters, clock=clock, rule=rule)
    timed = {}
    for index in chosen:
        encoded = workload.groups[index]
        timed[encoded.group.name] = ring.time_group(
            encoded, workload.model.device, None if expected is None else expected[index]
        )
    targets = {workload.groups[index].group.name: len(workload.groups[index].targets) for index in chosen}
    return _summary(timed, targets, ring, rule, config)


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


class _Ring:
    """Where contests of one point are held, group after group.

    Both sides are together on the device where they fit, else in turns, else the candidate is timed alone.
    """

    def __init__(
        self,
        config: HarnessConfig,
        candidate: Strategy,
        reference: Strategy | None,
        *,
        meters: Meters,
        clock: Clock,
        rule: StopRule,
    ) -> None:
        self._config = config
        self._candidate = candidate
        self._reference = reference
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
                if self._reference is None or not out_of_memory(error):
                    raise
                if self.alternating:
                    self._reference = None
                    self.note = "the reference strategy ran out of memory, so there is no speed-up"
                self.alternating = True

    def _attempt(self, encoded: EncodedGroup, device: torch.device, expected: Predictions | None) -> Rounds:
        references = encoded.references(device, self._config.objects)
        first = encoded.targets[: self._config.batch].clone().to(device)
        candidate = Contestant(self._candidate, references, first)
        sides: dict[SideName, Contestant] = {"candidate": candidate}
        reference = None
        if self._reference is not None:
            reference = sides["reference"] = Contestant(self._reference, references, first)
            if self.alternating:
                reference.rival, candidate.rival = candidate, reference
        try:
            self._warm(encoded, sides, first)
            block = self._block(encoded, device, reference, first)
            tail = block.inputs(0)[-1]
            if len(tail) != len(first):
                self._warm(encoded, sides, tail)
            if reference is not None and expected is not None:
                reference.ready()
                self._meters.reference.update(encoded.group.name, expected[: len(first)], reference.run([first])[0])
            pairing = self._pairing(encoded, block, expected)
            return pairing.alone(candidate) if reference is None else pairing.paired(reference, candidate)
        finally:
            for side in sides.values():
                side.park()

    def _warm(self, encoded: EncodedGroup, sides: dict[SideName, Contestant], inputs: VisionFeatures) -> None:
        noted = self.warm_ups.setdefault(encoded.group.name, {})
        for name, side in sides.items():
            side.ready()
            warmed = warm_up(
                partial(side.run, [inputs]), clock=self._clock, max_seconds=self._config.timing.warmup_seconds
            )
            noted.setdefault(name, []).append(warmed)

    def _block(
        self, encoded: EncodedGroup, device: torch.device, reference: Contestant | None, first: VisionFeatures
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
        moving = reference is not None and reference.strategy.exact
        return TargetBlock(encoded, count=count, batch=config.batch, device=device, moving=moving)

    def _pairing(
        self, encoded: EncodedGroup, block: TargetBlock, expected: Predictions | None
    ) -> Pairing[list[VisionFeatures], list[Predictions]]:
        def check(turn: int, of_reference: list[Predictions] | None, of_candidate: list[Predictions]) -> None:
            if expected is None:
                return
            if block.moving:
                assert of_reference is not None
                wanted = Predictions.concatenate(of_reference)
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
    timed: dict[str, Rounds], targets: dict[str, int], ring: _Ring, rule: StopRule, config: HarnessConfig
) -> Contest:
    blocks = [block for rounds in timed.values() for block in rounds.blocks]
    log_ratios = {group: rounds.log_ratios for group, rounds in timed.items() if rounds.log_ratios}
    per_target = {group: median(_per_target(rounds, "candidate")) for group, rounds in timed.items()}
    speedup = None
    if len(log_ratios) == len(timed):
        weights = [targets[group] * median(_per_target(rounds, "reference")) for group, rounds in timed.items()]
        speedup = estimate(list(log_ratios.values()), weights, seed=config.seed)
    of_candidate = [block for block in blocks if block.side == "candidate"]
    return Contest(
        blocks=blocks,
        log_ratios=log_ratios,
        speedup=speedup,
        fps=sum(targets.values()) / sum(targets[group] * seconds for group, seconds in per_target.items()),
        cpu_seconds_per_target=sum(one.cpu_seconds for one in of_candidate) / sum(one.targets for one in of_candidate),
        converged=_long_enough(timed, rule) and (speedup is None or _narrow(speedup, config.timing.width)),
        warm_ups=ring.warm_ups,
        alternating=ring.alternating,
        note=ring.note,
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
