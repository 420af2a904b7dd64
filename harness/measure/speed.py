"""The second stage of a point: its speed against the baseline strategy, on the same inputs in the same process.

The work is known by its scenario's protocol only (`harness.measure.scenario`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic

from harness.measure.pairing import Pairing, Rounds, StopRule, WarmUp, warm_up
from harness.measure.pooled import Pooled, Timed
from harness.measure.scenario import GroupWork, Inputs, Outputs, ReleasableSide, Scenario
from harness.measure.speed_measurement import SpeedMeasurement
from harness.measure.timing import Clock
from harness.observe.contention import ContentionMeter
from harness.options.config import TimingConfig
from harness.result import SideName
from strategies.errors import out_of_memory

CALLS_AT_ONCE = 4
"""How many calls a sustained run queues before it waits for the device, so that the device always has work."""


def measure_speed(scenario: Scenario[Any, Any], options: TimingConfig, *, seed: int, clock: Clock) -> SpeedMeasurement:
    """Time the candidate, against the baseline where there is one, on the scenario's groups.

    The scenario checks the outputs of the timed blocks, outside the clock.
    """
    groups = scenario.timed_groups()
    rule = StopRule.for_each_of(len(groups), options)
    timer = _GroupTimer[Any, Any](options, paired=scenario.paired, seed=seed, clock=clock, rule=rule)
    timed = {group.name: timer.time_group(group) for group in groups}
    targets = {group.name: group.targets for group in groups}
    blocks = [block for rounds in timed.values() for block in rounds.blocks]
    log_ratios = {group: rounds.log_ratios for group, rounds in timed.items() if rounds.log_ratios}
    pooled = Pooled.of([Timed(blocks=blocks, log_ratios=log_ratios)], targets, options, seed=seed)
    return SpeedMeasurement(
        blocks=blocks,
        log_ratios=log_ratios,
        targets=targets,
        pooled=pooled,
        warm_ups=timer.warm_ups,
        alternating=timer.alternating,
        contention=timer.contention.result(),
        note=timer.note,
    )


@dataclass(frozen=True, kw_only=True)
class Sustained:
    """A stretch in which the candidate ran alone, without a pause, on the same targets again and again."""

    targets: int
    seconds: float


def run_sustained(
    group: GroupWork[Inputs, Outputs], *, targets_per_call: int, seconds: float, clock: Clock, begin: Callable[[], None]
) -> Sustained:
    """Run the candidate alone, so that counters with windows of up to a second show this strategy and no other.

    begin: called when the candidate is prepared and warm.
    """
    candidate, inputs = group.sides(paired=False)["candidate"], group.first
    candidate.ready()
    clock()  # The clock waits for the device.
    begin()
    targets, began = 0, clock()
    while (now := clock()) - began < seconds:
        for _ in range(CALLS_AT_ONCE):
            candidate.run(inputs)
        targets += CALLS_AT_ONCE * targets_per_call
    candidate.release()
    group.close()
    return Sustained(targets=targets, seconds=now - began)


class _Alternating(Generic[Inputs, Outputs]):
    """A side that gets ready only after its opponent has left the device, because the two do not fit together."""

    def __init__(self, side: ReleasableSide[Inputs, Outputs], opponent: ReleasableSide[Inputs, Outputs]) -> None:
        self._side = side
        self._opponent = opponent
        self.run = side.run
        self.release = side.release

    def ready(self) -> None:
        self._opponent.release()
        self._side.ready()


class _GroupTimer(Generic[Inputs, Outputs]):
    """Times the groups of one point, one after another.

    Both sides are together on the device where they fit, else they take turns, else the candidate is timed alone.
    """

    def __init__(self, options: TimingConfig, *, paired: bool, seed: int, clock: Clock, rule: StopRule) -> None:
        self._options = options
        self._paired = paired
        self._seed = seed
        self._clock = clock
        self._rule = rule
        self.warm_ups: dict[str, dict[SideName, list[WarmUp]]] = {}
        self.alternating = False
        self.contention = ContentionMeter()
        self.note: str | None = None

    def time_group(self, group: GroupWork[Inputs, Outputs]) -> Rounds:
        while True:
            try:
                return self._attempt(group)
            except Exception as error:
                if not self._paired or not out_of_memory(error):
                    raise
                if self.alternating:
                    self._paired = False
                    self.note = "the baseline strategy ran out of memory, so there is no speed-up"
                self.alternating = True

    def _attempt(self, group: GroupWork[Inputs, Outputs]) -> Rounds:
        sides = self._sides(group)
        try:
            self._warm(group, sides, group.first)
            slowest = max(warmed[-1].seconds[-1] for warmed in self.warm_ups[group.name].values())
            block = group.block(seconds_per_call=slowest, paired="baseline" in sides)
            for inputs in block.shapes:
                self._warm(group, sides, inputs)
            pairing: Pairing[Inputs, Outputs] = Pairing(
                group=group.name,
                targets=block.targets,
                inputs=block.inputs,
                check=block.check,
                clock=self._clock,
                cpu_clock=time.process_time,
                rule=self._rule,
                seed=self._seed,
            )
            if "baseline" not in sides:
                with self.contention.watching():
                    return pairing.alone(sides["candidate"])
            sides["baseline"].ready()
            group.check_baseline(sides["baseline"].run(group.first))
            with self.contention.watching():
                return pairing.paired(sides["baseline"], sides["candidate"])
        finally:
            for side in sides.values():
                side.release()
            group.close()

    def _sides(self, group: GroupWork[Inputs, Outputs]) -> dict[SideName, ReleasableSide[Inputs, Outputs]]:
        sides = group.sides(paired=self._paired)
        if not (self._paired and self.alternating):
            return sides
        candidate, baseline = sides["candidate"], sides["baseline"]
        return {"candidate": _Alternating(candidate, baseline), "baseline": _Alternating(baseline, candidate)}

    def _warm(
        self,
        group: GroupWork[Inputs, Outputs],
        sides: dict[SideName, ReleasableSide[Inputs, Outputs]],
        inputs: Inputs,
    ) -> None:
        of_group = self.warm_ups.setdefault(group.name, {})
        for name, side in sides.items():
            side.ready()
            warmed = warm_up(partial(side.run, inputs), clock=self._clock, max_seconds=self._options.warmup_seconds)
            of_group.setdefault(name, []).append(warmed)
