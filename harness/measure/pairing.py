"""Paired timing: two strategies in turn, in one process, on the same inputs. It knows neither models nor files.

A *block* is one timed pass over a fixed set of targets by one side; the device is synchronised at its edges only. A
*round* is four blocks in the order baseline, candidate, candidate, baseline (ABBA), so that a machine which slowly
becomes faster or slower favours neither side. The first two blocks of a round share their inputs, and so do the last
two; no other blocks do, so that a strategy which caches its outputs is wrong (DESIGN section 4, rules 2, 6, 7).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from harness.measure.timing import Clock
from harness.options.config import TimingConfig
from harness.result import Block, SideName
from harness.stats.speedup import BOOTSTRAP_ROUNDS, estimate, log_ratio

Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")
InputsT = TypeVar("InputsT", contravariant=True)
OutputsT = TypeVar("OutputsT", covariant=True)


class Side(Protocol[InputsT, OutputsT]):
    """One of the two strategies that are compared."""

    def ready(self) -> None:
        """Be prepared and warm. This is called before every block, outside the clock."""

    def run(self, inputs: InputsT) -> OutputsT:
        """Do the work of a block."""


@dataclass(frozen=True, kw_only=True)
class StopRule:
    """The rule for ending a group's timing: after a minimum time and minimum rounds, with a narrow interval.

    max_seconds: the time after which timing ends although the rule is not satisfied.
    """

    min_seconds: float
    min_rounds: int
    width: float
    max_seconds: float

    @staticmethod
    def for_each_of(groups: int, options: TimingConfig) -> StopRule:
        """Return the rule for each of a point's groups in each of its processes: its part of the time and the rounds.

        An interval over all parts is narrower than each part's, by the root of their number where they are alike.
        """
        parts = groups * options.processes
        return StopRule(
            min_seconds=options.min_seconds / parts,
            min_rounds=max(BOOTSTRAP_ROUNDS if parts > 1 else 1, -(-options.min_rounds // parts)),
            width=options.width * parts**0.5,
            max_seconds=options.max_seconds / parts,
        )

    def enough(self, *, timed: float, rounds: int, width: float | None) -> bool:
        """Return whether the rule is satisfied.

        timed: seconds in blocks. width: hi / lo - 1 of the interval; None where there is no interval yet.
        """
        narrow = width is not None and width <= self.width
        return timed >= self.min_seconds and rounds >= self.min_rounds and narrow


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """The rounds that were timed of one group, in order.

    log_ratios: one number for each round; empty where there was no pair.
    converged: whether the group's own rule was satisfied, rather than its time over.
    """

    blocks: list[Block] = field(repr=False)
    log_ratios: list[float]
    converged: bool

    @property
    def count(self) -> int:
        return self.blocks[-1].round + 1


class Pairing(Generic[Inputs, Outputs]):
    """Times the blocks of one group.

    inputs: returns the inputs of a turn, different in each turn. check: takes the outputs of a turn, the baseline's
    (None where it was not run) and the candidate's, outside the clock. cpu_clock: CPU seconds of this process.
    """

    def __init__(
        self,
        *,
        group: str,
        targets: int,
        inputs: Callable[[int], Inputs],
        check: Callable[[int, Outputs | None, Outputs], None],
        clock: Clock,
        cpu_clock: Clock,
        rule: StopRule,
        seed: int = 0,
    ) -> None:
        self._group = group
        self._targets = targets
        self._inputs = inputs
        self._check = check
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._rule = rule
        self._seed = seed
        self._blocks: list[Block] = []

    def paired(self, baseline: Side[Inputs, Outputs], candidate: Side[Inputs, Outputs]) -> Rounds:
        """Time ABBA rounds until the rule is satisfied or its time is over; two at least, as one has no interval."""
        log_ratios: list[float] = []

        def one_round(number: int) -> float | None:
            # The first after new inputs pays for fresh memory, and each side is first once.
            a1, b1 = self._turn(2 * number, ("baseline", baseline), ("candidate", candidate))
            b2, a2 = self._turn(2 * number + 1, ("candidate", candidate), ("baseline", baseline))
            log_ratios.append(log_ratio((a1, a2), (b1, b2)))
            return estimate([log_ratios], [1.0], seed=self._seed).width

        converged = self._repeat(one_round, least=2)
        return Rounds(blocks=self._blocks, log_ratios=log_ratios, converged=converged)

    def _turn(
        self,
        number: int,
        first: tuple[SideName, Side[Inputs, Outputs]],
        second: tuple[SideName, Side[Inputs, Outputs]],
    ) -> tuple[float, float]:
        """Time both sides on the inputs of a turn, half of a round, and return their seconds in the order they ran.

        All that was made for the turn is freed with it: where outputs of the turn before were left, the side that is
        second in the last turn found other memory than the one that is second in the first, and a strategy came out
        1.4 % faster than itself.
        """
        inputs = self._inputs(number)
        outputs: dict[SideName, Outputs] = {}
        seconds = []
        for place, (name, side) in enumerate((first, second), start=2 * (number % 2)):
            outputs[name], taken = self._timed(side, name, number // 2, place, inputs)
            seconds.append(taken)
        self._check(number, outputs["baseline"], outputs["candidate"])
        return seconds[0], seconds[1]

    def alone(self, candidate: Side[Inputs, Outputs]) -> Rounds:
        """Time blocks of one side, without a ratio; their time and number decide when it is enough."""

        def one_round(number: int) -> float | None:
            actual, _ = self._timed(candidate, "candidate", number, 0, self._inputs(number))
            self._check(number, None, actual)
            return 0.0

        return Rounds(blocks=self._blocks, log_ratios=[], converged=self._repeat(one_round, least=1))

    def _repeat(self, one_round: Callable[[int], float | None], *, least: int) -> bool:
        """Run rounds, and return whether the rule was satisfied.

        After ``least`` rounds none begins that would end after ``max_seconds``.
        """
        began = self._clock()
        number = 0
        while True:
            round_began = self._clock()
            width = one_round(number)
            number += 1
            timed = sum(block.seconds for block in self._blocks)
            if self._rule.enough(timed=timed, rounds=number, width=width):
                return True
            now = self._clock()
            if number >= least and now - began + (now - round_began) > self._rule.max_seconds:
                return False

    def _timed(
        self, side: Side[Inputs, Outputs], name: SideName, number: int, place: int, inputs: Inputs
    ) -> tuple[Outputs, float]:
        side.ready()
        start, cpu_start = self._clock(), self._cpu_clock()
        outputs = side.run(inputs)
        cpu_seconds = self._cpu_clock() - cpu_start  # It is read first, because to wait for a GPU keeps a core busy.
        seconds = self._clock() - start
        self._blocks.append(
            Block(
                group=self._group,
                round=number,
                place=place,
                side=name,
                targets=self._targets,
                seconds=seconds,
                cpu_seconds=cpu_seconds,
            )
        )
        return outputs, seconds


@dataclass(frozen=True, kw_only=True)
class WarmUp:
    """The warm-up of a side for one batch shape: seconds of each call, and whether they had become steady."""

    seconds: list[float]
    steady: bool


STEADY_CALLS = 3
STEADY_SPREAD = 0.1


def warm_up(call: Callable[[], object], *, clock: Clock, max_seconds: float) -> WarmUp:
    """Call until three in a row took the same time to 10 %, or ``max_seconds`` are over; at least twice.

    The first call does not count towards ``max_seconds``, because it may compile, or capture a graph.
    """
    start = clock()
    call()
    began = now = clock()
    seconds = [now - start]
    while True:
        start = now
        call()
        now = clock()
        seconds.append(now - start)
        last = seconds[-STEADY_CALLS:]
        if len(last) == STEADY_CALLS and max(last) <= min(last) * (1 + STEADY_SPREAD):
            return WarmUp(seconds=seconds, steady=True)
        if now - began >= max_seconds:
            return WarmUp(seconds=seconds, steady=False)
