"""The strategy and the batch of a job, where the user leaves them open: ``strategy=auto`` and ``batch=auto``.

A job that goes on takes what it was begun with. A new one takes the best point of a run (``from=``), or what a
calibration on its first targets finds. What the user gives goes first.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.job.calibrate import Calibration, Found, named, search
from harness.job.fingerprint import Fingerprint
from harness.options.config import HarnessConfig
from harness.options.points import Point
from harness.options.shipped import interpolated, read_by_strategies, shipped, strategies
from harness.options.words import option_of, word
from harness.pipeline.plan import Work, targets_of
from harness.result import PointResult
from harness.row import SETTING
from harness.stats.best import best
from harness.store.recorded import environment_of, results_of
from strategies.errors import UserError
from strategies.models.tracker import Tracker

USUAL = {"strategy": "direct", "batch": "8"}
"""What is taken where measuring is not worth its time."""
ALL = "glob(*)"


@dataclass(frozen=True, kw_only=True)
class Auto:
    """What a command leaves open.

    names: ``strategy``, ``batch`` or both. compose: returns the command's points with options that apply where it does
    not set them.
    """

    names: frozenset[str]
    compose: Callable[[Mapping[str, str]], list[Point]]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A point, and in words how it was chosen."""

    point: Point
    why: str


def again(auto: Auto, before: Fingerprint) -> Chosen:
    """Return the point that a job was begun with."""
    strategy = strategies().get(before.options.get("strategy", ""), {})

    def typed(name: str) -> str:
        """Return the name by which users set an option: ``bank`` for ``strategy.bank``, where the YAML says so."""
        knobs = interpolated(strategy.get(name.removeprefix("strategy."), ""))
        return knobs.pop() if len(knobs) == 1 else name

    kept = {typed(name): value for name, value in before.options.items() if name.startswith("strategy.")}
    kept |= {name: before.options[name] for name in USUAL if name in before.options}
    (point,) = auto.compose(USUAL | kept)
    return Chosen(point=point, why=before.chosen)


def from_run(auto: Auto, run: Path, asked: Point) -> Chosen:
    """Return the point that is best in a run by the rule of the report's verdict, for the model and dtype asked for.

    Of several settings that with the job's number of objects is taken, or else that with the most. Raises UserError
    where the folder is no run, or none of its points fits.
    """
    environment_of(run)
    fitting = [one.result for one in results_of(run) if _fits(one.result, asked, auto)]
    if not fitting:
        kept = [f"{name}={getattr(asked, name, asked.config.batch)}" for name in USUAL if name not in auto.names]
        of_what = " ".join([f"model={asked.config.model.name}", f"dtype={asked.config.dtype}", *kept])
        raise UserError(f"from={run} has no point of {of_what} with right masks: measure one, or leave out from=")
    settings: dict[tuple[object, ...], list[PointResult]] = {}
    for one in fitting:
        settings.setdefault(tuple(getattr(one.row, name) for name in (*SETTING, "objects")), []).append(one)
    ranked = [results[best([one.row.speed for one in results]).at] for results in settings.values()]
    result = max(ranked, key=lambda one: _nearness(one, asked.config.objects))
    row = result.row
    (point,) = auto.compose(USUAL | {"strategy": row.strategy, "batch": str(row.batch)} | _own_options(result))
    by = "" if row.speedup is None else f", {row.speedup:.2f} times as fast as {row.reference} there"
    return Chosen(point=point, why=f"{named(point)}, the best of {run.resolve().name}{by}")


def calibrated(
    auto: Auto, usual: Point, plan: Sequence[Work], model: Tracker, *, said: Callable[[str], None]
) -> Chosen:
    """Return the point that is fastest on the first targets; the usual one where measuring is not worth its time."""
    config = usual.config
    for work in plan:
        try:
            calibration = Calibration(
                work, model, targets=targets_of(plan), seconds=config.label.calibration, seed=config.seed
            )
            break
        except UserError:  # The job itself tells what is broken.
            continue
    else:
        return Chosen(point=usual, why=f"{named(usual)}, as usual: nothing could be measured on")
    if not calibration.worth_it(usual):
        return Chosen(point=usual, why=f"{named(usual)}, as usual: the job is too short to measure what is faster")
    said("measuring which strategy and batch are fastest here")
    found = _found(auto, usual, calibration, config)
    return Chosen(point=found.point, why=_why(found))


def _found(auto: Auto, usual: Point, calibration: Calibration, config: HarnessConfig) -> Found:
    def field(batch: int) -> list[Point]:
        more = {"batch": str(batch)}
        if "strategy" not in auto.names:
            return auto.compose(USUAL | more)
        try:
            return auto.compose(USUAL | {"strategy": ALL} | more)
        except UserError:  # A strategy that nobody asked for can't be composed; the usual one can.
            return auto.compose(USUAL | more)

    def resized(point: Point, batch: int) -> Point:
        return next(one for one in field(batch) if one.strategy == point.strategy)  # The winner is one of them.

    others = [one for one in field(config.batch) if one.strategy != usual.strategy] if "strategy" in auto.names else []
    return search(
        usual,
        [one for one in others if calibration.usable(one, exact=config.label.exact)],
        resized=resized if "batch" in auto.names else None,
        compare=calibration.compare,
    )


def _why(found: Found) -> str:
    parts = [", ".join(map(str, found.tried)) or "nothing else could be timed"]
    if found.untried:
        parts.append(f"not timed: {', '.join(found.untried)}")
    return f"{named(found.point)}: {'; '.join(parts)}"


def _fits(result: PointResult, asked: Point, auto: Auto) -> bool:
    row = result.row
    return (
        row.status == "ok"
        and bool(row.fps)
        and row.scenario != "stream"
        and "differ" not in (row.masks, row.fp32_masks)
        and (row.model, row.dtype) == (asked.config.model.name, asked.config.dtype)
        and ("strategy" in auto.names or row.strategy == asked.strategy)
        and ("batch" in auto.names or row.batch == asked.config.batch)
    )


def _nearness(result: PointResult, objects: int | None) -> tuple[float, float]:
    there = result.row.objects or 0
    return (there if objects is None else -abs(there - objects)), result.row.objects_per_s or 0.0


def _own_options(result: PointResult) -> dict[str, str]:
    """Return the options that the point's strategy was given, as they are typed: knobs, and ``strategy.piece=4``."""
    knobs = read_by_strategies() - {"batch"}
    changed = [word(name, result.config[name]) for name in sorted(knobs) if _is_changed(result, name)]
    typed = [one for one in shlex.split(result.row.command or "") if one.startswith("strategy.")]
    return {option_of(one): one.partition("=")[2] for one in [*changed, *typed]}


def _is_changed(result: PointResult, name: str) -> bool:
    return name in result.config and result.config[name] != shipped()[name]
