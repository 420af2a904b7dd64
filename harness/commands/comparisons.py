"""The comparisons of a certificate: the grid of points, in which order they are made, and how long that may take."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch

from harness.commands.neighbour import neighbours
from harness.gate.check import GRID
from harness.isolate.isolation import Outcome
from harness.isolate.jobs import Job, MeasureJob
from harness.options.config import TimingConfig
from harness.options.points import Point
from harness.sweep import OutOfTimeError, TimeLimit, launch, with_timeout

SETUP_SECONDS = 8.0
"""What a comparison takes besides its rounds: a process, its imports, warming up (of the toy, on a quiet machine)."""
NOISE = 0.03
"""The standard deviation of a round's log-ratio on a quiet machine."""
LONGER = 4
"""A comparison may take so many times as long as on a quiet machine, which is enough for twice the noise."""
MARGIN_SECONDS = 300.0
"""A comparison may take so much longer than its rounds do."""
MEDIAN = 1.25
"""The standard error of a median is so many times that of a mean."""
Kind = Literal["itself", "gate"]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A measurement of the point's strategy, slowed down by a share, beside so many busy processes.

    kind: whether it is against itself, or against the baseline strategy with the gate's timing, as the gate measures.
    """

    kind: Kind
    slowdown: float
    neighbours: int
    point: Point


def comparisons(point: Point) -> list[Comparison]:
    """Return the grid in an order in which, wherever it ends, as large a part of each kind is made."""
    options = point.config.certify
    slowdowns = options.slowdowns if options.effect is None else [options.effect]
    detections = options.detections * len(options.slowdowns) // len(slowdowns) if slowdowns else 0
    plan: list[tuple[float, Comparison]] = []
    for beside in (0, options.neighbours) if options.neighbours else (0,):
        kinds: list[tuple[Kind, float, int]] = [
            ("itself", 0.0, options.comparisons),
            *(("itself", slowdown, detections) for slowdown in slowdowns),
            ("gate", 0.0, 2 * options.detections),
        ]
        for kind, slowdown, count in kinds:
            made = [_comparison(point, kind, slowdown, beside, number) for number in range(count)]
            plan += [(number / count, one) for number, one in enumerate(made)]
    return [one for _, one in sorted(plan, key=lambda entry: entry[0])]


def _comparison(point: Point, kind: Kind, slowdown: float, beside: int, number: int) -> Comparison:
    config = point.config
    # Masks have a certificate of their own, and comparing them takes time.
    common: dict[str, Any] = {"paired": True, "compare": False, "repeat": number, "pictures": 0}
    if kind == "gate":
        changed = replace(config, **common, timing=_gate_timing(point))
        strategy, baseline, words = f"{point.strategy}-as-in-the-gate", point.baseline, point.baseline_words
    else:
        common |= {"strategy": _throttled(config.strategy, slowdown), "baseline": _throttled(config.strategy, 0.0)}
        timing = timing_of(point)
        longest = None if config.timeout is None else max(config.timeout, MARGIN_SECONDS + timing.max_seconds)
        changed = replace(config, **common, timing=timing, timeout=longest)
        strategy = f"{point.strategy}-throttled-{slowdown:g}" if slowdown else point.strategy
        baseline, words = point.strategy, ()
    named = f"{strategy}-beside-{beside}" if beside else strategy
    made = replace(point, strategy=named, baseline=baseline, baseline_words=words, config=changed)
    return Comparison(kind=kind, slowdown=slowdown, neighbours=beside, point=made)


def _throttled(strategy: dict[str, Any], share: float) -> dict[str, Any]:
    inner = {"strategy": strategy, "share": share, "_recursive_": False}  # It makes the strategy in it by itself.
    return {"_target_": "harness.commands.throttled.Throttled", **inner}


def timing_of(point: Point) -> TimingConfig:
    """Return how comparisons with itself are timed: where an effect is asked for, until half of it would show.

    With an interval half as wide as the effect, a strategy that is slower by the effect has an interval that ends
    below 1 in 95 % of cases, although processes differ by up to a third of the effect, which no interval of one process
    holds. What the command line says of timing goes before that.
    """
    timing, effect = point.config.timing, point.config.certify.effect
    if effect is None:
        return timing
    asked = replace(timing, width=effect / 2)
    asked = replace(asked, max_seconds=max(timing.max_seconds, math.ceil(LONGER * quiet_seconds(asked))))
    return _unless_typed(point, width=asked.width, max_seconds=asked.max_seconds)


def _gate_timing(point: Point) -> TimingConfig:
    """Return the gate's timing, but in one process: several take turns over the run, and a time limit would cut them.

    So the rates are those of a gate on its worse side, which several processes guard against differences between them.
    """
    given = {key.removeprefix("timing."): value for key, value in GRID.items() if key.startswith("timing.")}
    asked = {name: value for name, value in given.items() if name != "processes"}
    kinds = {name: type(getattr(point.config.timing, name)) for name in asked}
    return _unless_typed(point, **{name: kinds[name](value) for name, value in asked.items()})


def _unless_typed(point: Point, **options: Any) -> TimingConfig:
    typed = {word.partition("=")[0] for word in point.overrides}
    kept = {name: value for name, value in options.items() if f"timing.{name}" not in typed}
    return replace(point.config.timing, **kept)


def quiet_seconds(timing: TimingConfig) -> float:
    """Return about how long the rounds of a comparison take on a quiet machine, where a batch is shorter than a block.

    The interval of a median of n rounds is as wide as is asked for where 1.96 standard errors are half of that.
    """
    half = math.log1p(timing.width) / 2
    needed = math.inf if half == 0 else (1.96 * MEDIAN * NOISE / half) ** 2
    return max(timing.min_seconds, max(timing.min_rounds, needed) * 4 * timing.block_seconds)


def expected_seconds(made: Sequence[Comparison]) -> float:
    """Return about how long comparisons take on a machine that is quiet but for their own neighbours.

    Where torch's threads and the neighbours are more than the cores, set-up takes twice as long, and rounds become so
    slow, because threads wait for each other, that they go on to the end of their time.
    """
    cores, threads = os.cpu_count() or 1, torch.get_num_threads()

    def seconds(timing: TimingConfig, beside: int) -> float:
        if beside and threads + beside > cores:
            return 2 * SETUP_SECONDS + timing.max_seconds
        return SETUP_SECONDS + min(quiet_seconds(timing), timing.max_seconds)

    return sum(seconds(one.point.config.timing, one.neighbours) for one in made)


def limited(made: Sequence[Comparison], *, seconds: float) -> Callable[..., Outcome]:
    """Return a `harness.sweep.Launch` that plants each comparison's neighbours, and ends the sweep in time.

    A comparison that is under way when the time is over is given up, but with ``isolation=inline`` comes to its end.
    """
    beside = {one.point.name: one.neighbours for one in made}
    limit = TimeLimit(seconds)

    def launch_in_time(point: Point, job: Job, on_stage: Callable[[str], None]) -> Outcome:
        limit.check()
        left = limit.left
        own = math.inf if point.config.timeout is None else point.config.timeout
        with neighbours(beside[point.name] if isinstance(job, MeasureJob) else 0):
            outcome = launch(with_timeout(point, min(own, left)), job, on_stage)
        if outcome.failure is not None and outcome.failure.status == "timeout" and left < own:
            raise OutOfTimeError
        return outcome

    return launch_in_time
