"""The sweep, one point after another, each in its own process, every result on disk as soon as the point ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Protocol

from harness.data.sources import open_groups
from harness.isolate.failures import Failure, failure_of
from harness.isolate.isolation import Outcome, run_inline, run_spawned
from harness.isolate.jobs import EncodeJob, Job, MeasureJob, resolve_device
from harness.measure.point import describe
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
    """Raised by a `Launch` that does no job any more: the sweep ends there."""


class Launch(Protocol):
    """A function that does a job somewhere and returns how it ended. It may raise `OutOfTimeError`."""

    def __call__(self, point: Point, job: Job, on_stage: Callable[[str], None], /) -> Outcome: ...


def launch(point: Point, job: Job, on_stage: Callable[[str], None], /) -> Outcome:
    """Run a job in a process of its own or in this one, as the point's options say."""
    if point.config.isolation == "inline":
        return run_inline(job, on_stage=on_stage)
    return run_spawned(job, timeout=point.config.timeout, on_stage=on_stage)


def run_sweep(points: Sequence[Point], run: RunFolder, progress: Progress, *, launch: Launch = launch) -> None:
    """Measure all points of which the run has no result; those that fail get their status and the sweep goes on.

    Raises, after all other points are done, the first error that nobody has dealt with yet: UserError where a point
    could not be measured because of its input, and with ``isolation=inline`` whatever a strategy raised.
    """
    environment = describe_environment(resolve_device(points[0].config.device))
    run.write_json("environment.json", environment)
    run.write_json(
        "plan.json", [{"point": point.name, "command": point.command, "options": point.options} for point in points]
    )
    asked = [_Asked(point=point, identity=identity_of(point, environment)) for point in points]
    left = [one for one in asked if not run.finished(one.point.name, one.identity)]
    run.write_summary()
    progress.keep(len(asked) - len(left))
    errors: list[Exception] = []
    with suppress(OutOfTimeError):
        for _, sharing in groupby(left, key=lambda one: one.point.workload):
            with scratch_folder() as folder:
                _run_workload(list(sharing), run, progress, launch, folder, errors)
    if errors:
        raise errors[0]


@dataclass(frozen=True, kw_only=True)
class _Asked:
    point: Point
    identity: dict[str, str]


def _run_workload(
    asked: list[_Asked], run: RunFolder, progress: Progress, launch: Launch, folder: Path, errors: list[Exception]
) -> None:
    """Measure points that share a workload; where it can't be made, they all end for that reason.

    errors: receives the first that is to be raised in the end, and no more, because each keeps all its frames alive.
    """

    def end(one: _Asked, outcome: Outcome) -> None:
        failure = outcome.failure
        error = UserError(failure.reason) if failure is not None and failure.refused else outcome.error
        if error is not None and not errors:
            errors.append(error)
        result = outcome.result or _failed(one.point, outcome)
        run.add(result, identity=one.identity)
        progress.end(result.row, traceback="" if failure is None else failure.traceback)
        progress.warn(result.details.get("warnings", ()))

    encoded: Outcome | None = None
    for one in asked:
        point = one.point
        progress.begin(point.name)
        if (failure := _reason_to_skip(point)) is not None:
            end(one, Outcome(failure=failure))
            continue
        if encoded is None:
            encoded = launch(point, EncodeJob(point=point, folder=folder), progress.stage)
            if encoded.failure is not None and encoded.failure.killed:  # All points share it, so it has a second try.
                empty(folder)
                encoded = launch(point, EncodeJob(point=point, folder=folder), progress.stage)
        if encoded.failure is not None:
            end(one, encoded)
            continue
        job = MeasureJob(point=point, folder=folder, run_folder=run.path, began=time.time())
        end(one, launch(point, job, progress.stage))


def _reason_to_skip(point: Point) -> Failure | None:
    """Return why a point can't be measured, as far as that is known before anything is read."""
    try:
        largest = max(len(group.targets) for group in open_groups(point.config))
    except UserError as error:  # The data existed when the sweep began.
        return failure_of(error)
    if point.config.batch <= largest:
        return None
    reason = (
        f"batch={point.config.batch} is more than the {largest} targets of the largest group; "
        "raise targets= or lower batch="
    )
    return Failure(status="skipped", reason=reason)


def _failed(point: Point, outcome: Outcome) -> PointResult:
    failure = outcome.failure or Failure(status="crash", reason="the worker said that it was done and sent no result")
    return PointResult(
        row=Row(**describe(point), status=failure.status, reason=failure.reason),
        config=point.options,
        details={"output": outcome.output, "traceback": failure.traceback or None},
    )
