"""The speed of a point by the rounds of one process or of several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from harness.measure.pairing import StopRule
from harness.options.config import TimingConfig
from harness.result import Block, SideName
from harness.stats.speedup import SpeedUp, estimate_over_processes


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The rounds that one process timed. log_ratios: those of each group of which pairs were timed."""

    blocks: Sequence[Block]
    log_ratios: Mapping[str, Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """The speed of a point over all its groups and processes.

    speedup: None where a group was not timed in pairs. fps: targets per second, by each group's median block.
    converged: whether time, rounds and the width of the interval over all groups reached what was asked for.
    """

    speedup: SpeedUp | None
    fps: float
    cpu_seconds_per_target: float
    converged: bool

    @staticmethod
    def of(processes: Sequence[Timed], targets: Mapping[str, int], options: TimingConfig, *, seed: int) -> Pooled:
        """Pool what processes timed of the same groups. targets: how many each of the groups has."""
        blocks = [block for one in processes for block in one.blocks]
        per_target = {group: median(_per_target(blocks, group, "candidate")) for group in targets}
        speedup = None
        if all(one.log_ratios.keys() >= targets.keys() for one in processes):
            weights = [count * median(_per_target(blocks, group, "baseline")) for group, count in targets.items()]
            log_ratios = [[one.log_ratios[group] for group in targets] for one in processes]
            speedup = estimate_over_processes(log_ratios, weights, seed=seed)
        of_candidate = [block for block in blocks if block.side == "candidate"]
        rule = StopRule.for_each_of(len(targets), options)
        return Pooled(
            speedup=speedup,
            fps=sum(targets.values()) / sum(targets[group] * seconds for group, seconds in per_target.items()),
            cpu_seconds_per_target=sum(one.cpu_seconds for one in of_candidate)
            / sum(one.targets for one in of_candidate),
            converged=all(_long_enough(one.blocks, group, rule) for one in processes for group in targets)
            and (speedup is None or _narrow(speedup, options.width)),
        )


def _long_enough(blocks: Sequence[Block], group: str, rule: StopRule) -> bool:
    """Return whether a group had its time and its rounds; how narrow its own interval is does not matter."""
    mine = [block for block in blocks if block.group == group]
    return rule.enough(timed=sum(block.seconds for block in mine), rounds=mine[-1].round + 1, width=0.0)


def _narrow(speedup: SpeedUp, width: float) -> bool:
    return speedup.width is not None and speedup.width <= width


def _per_target(blocks: Sequence[Block], group: str, side: SideName) -> list[float]:
    return [block.seconds / block.targets for block in blocks if block.group == group and block.side == side]
