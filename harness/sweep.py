"""The sweep, one point after another, each in its own process, every result on disk as soon as the point ends.

Points with several processes (``timing.processes``) take turns: all are measured once, then all again, so that what one
point's processes share is not a moment. A workload's features stay until its last turn. Where a run goes on, what was
never tried goes before what failed, so that a run whose time is limited gets to its end.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from harness.data.sources import open_groups
from harness.isolate.extra import ExtraJob, stored_extra
from harness.isolate.failures import Failure, failure_of
from harness.isolate.isolation import Outcome, run_apart, run_inline
from harness.isolate.jobs import EncodeJob, Job, MeasureJob
from harness.isolate.processes import fork, spawn
from harness.measure.columns import describe
from harness.measure.processes import together, usable
from harness.options.config import HarnessConfig, name_of
from harness.options.devices import computes_on_cpu, resolve_device
from harness.options.points import Point
from harness.progress import Progress
from harness.result import PointResult
from harness.row import Row
from harness.store.environment import describe_environment
from harness.store.identity import identity_of
from harness.store.results import RunFolder
from harness.workload.scratch import empty, scratch_folder
from strategies.errors import UserError


class OutOfTimeError(Exception):
    """Raised where no job is done any more: the sweep ends there."""


class TimeLimit:
    """The seconds that a command may take, from the moment on that this was made."""

    def __init__(self, seconds: float = math.inf, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    @property
    def left(self) -> float:
        return self._end - self._clock()

    def check(self) -> None:
        """Raise OutOfTimeError where the time is over."""
        if self.left <= 0:
            raise OutOfTimeError


class Launch(Protocol):
    """A function that does a job somewhere and returns how it ended. It may raise `OutOfTimeError`."""

    def __call__(self, point: Point, job: Job, on_stage: Callable[[str], None], /) -> Outcome: ...


def launch(point: Point, job: Job, on_stage: Callable[[str], None], /) -> Outcome:
    """Run a job in a process of its own or in this one, as the point's options say."""
    if point.config.isolation == "inline":
        return run_inline(job, on_stage=on_stage)
    start = fork if point.config.isolation == "fork" and computes_on_cpu(point.config.device) else spawn
    return run_apart(job, timeout=point.config.timeout, on_stage=on_stage, start=start)


def plan_of(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return what a run's plan.json holds."""
    return [{"point": point.name, "command": point.command, "options": point.options} for point in points]


def with_timeout(point: Point, seconds: float) -> Point:
    """Return the point with so many seconds for each of its processes."""
    config: HarnessConfig = replace(point.config, timeout=seconds)
    return replace(point, config=config)


def run_sweep(
    points: Sequence[Point],
    run: RunFolder,
    progress: Progress,
    *,
    launch: Launch = launch,
    limit: TimeLimit | None = None,
    mine: Collection[str] | None = None,
) -> list[str]:
    """Measure all points of which the run has no result; those that fail get their status and the sweep goes on.

    mine: names of the points that are measured here, where other processes measure the others; the extras are measured
    with the first point. limit: nothing further begins when its time is over.
    Returns the names of the points and extras that were left without a result then, or that a launch raised
    `OutOfTimeError` for.
    Raises, after all other points are done, the first error that nobody has dealt with yet: UserError where a point
    could not be measured because of its input, and with ``isolation=inline`` whatever a strategy raised.
    """
    limit = limit or TimeLimit()
    environment = describe_environment(resolve_device(points[0].config.device))
    run.write_json("environment.json", environment)
    run.write_json("plan.json", plan_of(points))
    asked = [_Asked(point=point, identity=identity_of(point, environment)) for point in points]
    here = [one for one in asked if mine is None or one.point.name in mine]
    with_extras = asked[0] in here
    left = [one for one in here if not one.finished(run)]
    run.write_summary()
    progress.keep(len(here) - len(left))
    if any(one.processes > 1 and one.point.config.isolation == "inline" for one in left):
        progress.warn([INLINE])
    extras = _Extras(asked, run, progress, launch, limit)
    with suppress(OutOfTimeError), ExitStack() as stack:
        sweep = _Sweep(run, progress, launch, stack)
        turns = [_Turn(asked=one, number=number) for one in left for number in sweep.missing(one)]
        turns.sort(key=lambda turn: turn.number)  # Every point is measured once before any is measured again.
        fresh = [turn for turn in turns if not turn.asked.failed(run)]
        again = [turn for turn in turns if turn.asked.failed(run)]
        last = {turn.workload: turn for turn in (*fresh, *again)}

        def take(those: Sequence[_Turn]) -> None:
            for turn in those:
                limit.check()
                sweep.take(turn)
                if last[turn.workload] is turn:
                    sweep.close(turn.workload)

        functions = points[0].config.extras
        extras.take(functions.before if with_extras else ())
        take(fresh)
        extras.take(functions.after if with_extras else ())
        take(again)
    if sweep.error is not None:
        raise sweep.error
    pending = [one.point.name for one in here if not (one.finished(run) or one.failed(run))]
    return [*pending, *(extras.missing() if with_extras else [])]


LONGER = 2
"""An extra is ended after so many times the seconds in which it may begin something."""
INLINE = (
    "with isolation=inline the processes of timing.processes are repetitions in one process, which share what differs "
    "between processes"
)


@dataclass(frozen=True, kw_only=True)
class _Asked:
    point: Point
    identity: dict[str, str]

    @property
    def processes(self) -> int:
        return self.point.config.timing.processes

    def finished(self, run: RunFolder) -> bool:
        return run.finished(self.point.name, self.identity, processes=self.processes)

    def failed(self, run: RunFolder) -> bool:
        return run.failed(self.point.name, self.identity)


@dataclass(frozen=True, kw_only=True)
class _Turn:
    """The measurement of a point in one of its processes, counted from 0."""

    asked: _Asked
    number: int

    @property
    def workload(self) -> str:
        return self.asked.point.workload


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    """A workload that points share: its folder, and how making it ended. close: removes the folder."""

    folder: Path
    outcome: Outcome
    close: Callable[[], None]


class _Extras:
    """Measures what a sweep's options list besides its points; what the run has of it already is not measured again."""

    def __init__(
        self, asked: Sequence[_Asked], run: RunFolder, progress: Progress, launch: Launch, limit: TimeLimit
    ) -> None:
        self._points = [one.point for one in asked]
        self._options = self._points[0].config.extras
        self._identity = {name: asked[0].identity[name] for name in ("code", "environment")}
        self._run = run
        self._progress = progress
        self._launch = launch
        self._limit = limit

    def take(self, functions: Sequence[str]) -> None:
        for function in functions:
            if self._is_kept(function):
                continue
            self._limit.check()
            name = name_of(function)
            self._progress.begin(name)
            seconds, path = self._options.seconds, self._path(function)
            job = ExtraJob(points=self._points, function=function, path=path, seconds=seconds, identity=self._identity)
            doing = ["starting"]

            def on_stage(stage: str, doing: list[str] = doing) -> None:
                doing.append(stage)
                self._progress.stage(stage)

            failure = self._launch(with_timeout(self._points[0], LONGER * seconds), job, on_stage).failure
            if failure is not None and failure.status == "timeout":
                reason = f"longer than {LONGER * seconds:g} seconds, while {doing[-1]}; raise extras.seconds="
                failure = replace(failure, reason=reason)
            if failure is not None:
                job.failed(failure)
            self._progress.extra(name, None if failure is None else failure.reason)

    def missing(self) -> list[str]:
        listed = (*self._options.before, *self._options.after)
        return [name_of(function) for function in listed if not self._is_kept(function)]

    def _is_kept(self, function: str) -> bool:
        return stored_extra(self._path(function), self._identity) is not None

    def _path(self, function: str) -> Path:
        return self._run.path / f"{name_of(function)}.json"


class _Sweep:
    """Takes the turns of a sweep; a workload is made when the first turn needs it.

    error: the first that is to be raised in the end, and no more, because each keeps all its frames alive.
    """

    def __init__(self, run: RunFolder, progress: Progress, launch: Launch, stack: ExitStack) -> None:
        self._run = run
        self._progress = progress
        self._launch = launch
        self._stack = stack
        self._encoded: dict[str, _Encoded] = {}
        self._results: dict[str, dict[int, PointResult]] = {}
        self.error: Exception | None = None

    def missing(self, one: _Asked) -> list[int]:
        """Return which of a point's processes are to be measured, after those were read that have their results.

        The last one is measured again where all have them, and only their common result is missing.
        """
        name, wanted = one.point.name, range(one.processes)
        self._results[name] = {}
        if one.processes == 1:
            return [0]
        for number in wanted:
            found = self._run.process(name, one.identity, number)
            if found is not None and usable(one.point, found):
                self._results[name][number] = found
        return [number for number in wanted if number not in self._results[name]] or [wanted[-1]]

    def take(self, turn: _Turn) -> None:
        """Take a turn, unless the point has ended badly in an earlier one."""
        point, found = turn.asked.point, self._results[turn.asked.point.name]
        if any(one.row.status != "ok" for one in found.values()):
            return
        self._progress.begin(point.name)
        outcome = self._outcome(turn)
        failure = outcome.failure
        error = UserError(failure.reason) if failure is not None and failure.refused else outcome.error
        if error is not None and self.error is None:
            self.error = error
        found[turn.number] = outcome.result or _failed(point, outcome)
        self._store(turn, "" if failure is None else failure.traceback)

    def close(self, workload: str) -> None:
        """Remove a workload, which no turn needs any more."""
        if workload in self._encoded:
            self._encoded.pop(workload).close()

    def _store(self, turn: _Turn, traceback: str) -> None:
        point, identity, processes = turn.asked.point, turn.asked.identity, turn.asked.processes
        found = self._results[point.name]
        new = found[turn.number]
        bad = new.row.status != "ok"
        if processes > 1 and not bad:
            self._run.add_process(new, identity, turn.number)
        merged = together(point, found)
        self._run.add(merged, identity=identity)
        if bad or len(found) == processes:
            self._progress.end(merged.row, traceback=traceback)
        else:
            self._progress.part(merged.row, number=turn.number, of=processes)
        self._progress.warn(new.details.get("warnings", ()))

    def _outcome(self, turn: _Turn) -> Outcome:
        point = turn.asked.point
        if (failure := _reason_to_skip(point)) is not None:
            return Outcome(failure=failure)
        encoded = self._encode(point)
        if encoded.outcome.failure is not None:
            return encoded.outcome
        job = MeasureJob(
            point=point, folder=encoded.folder, run_folder=self._run.path, began=time.time(), process=turn.number
        )
        return self._launch(point, job, self._progress.stage)

    def _encode(self, point: Point) -> _Encoded:
        """Return the point's workload; where it can't be made, all points that share it end for that reason."""
        if point.workload not in self._encoded:
            stack = self._stack.enter_context(ExitStack())
            folder = stack.enter_context(scratch_folder())
            outcome = self._launch(point, EncodeJob(point=point, folder=folder), self._progress.stage)
            if outcome.failure is not None and outcome.failure.killed:  # All points share it, so it has a second try.
                empty(folder)
                outcome = self._launch(point, EncodeJob(point=point, folder=folder), self._progress.stage)
            self._encoded[point.workload] = _Encoded(folder=folder, outcome=outcome, close=stack.close)
        return self._encoded[point.workload]


def _reason_to_skip(point: Point) -> Failure | None:
    """Return why a point can't be measured, as far as that is known before anything is read."""
    try:
        groups = open_groups(point.config)
    except UserError as error:  # The data existed when the sweep began.
        return failure_of(error)
    largest = max(len(group.targets) for group in groups)
    if point.config.scenario == "stream":
        return _too_few_videos(point, len(groups))
    if point.config.batch <= largest:
        return None
    reason = (
        f"batch={point.config.batch} is more than the {largest} targets of the largest group; "
        "raise targets= or lower batch="
    )
    return Failure(status="skipped", reason=reason)


def _too_few_videos(point: Point, there: int) -> Failure | None:
    if point.config.videos <= there:
        return None
    reason = (
        f"videos={point.config.videos} is more than the data has, which is {there}; raise data.groups= or lower videos="
    )
    return Failure(status="skipped", reason=reason)


def _failed(point: Point, outcome: Outcome) -> PointResult:
    failure = outcome.failure or Failure(status="crash", reason="the worker said that it was done and sent no result")
    return PointResult(
        row=Row(**describe(point), status=failure.status, reason=failure.reason),
        config=point.options,
        details={"output": outcome.output, "traceback": failure.traceback or None},
    )
