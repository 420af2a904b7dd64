"""``python -m harness [KEY=VALUE,VALUE ...]``: Hydra composes the grid, the sweep measures it, the report shows it.

Exit codes: 0 all points ok or skipped; 1 some point ended otherwise; 2 bad input; 3 ``minutes`` were over and some
points are pending, so the same command with ``resume=true`` goes on; 130 interrupted. With ``isolation=inline`` what a
strategy raises is raised again after the run's files are written: a traceback, and 1.
"""

from __future__ import annotations

import math
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.data.sources import open_groups
from harness.guard import INTERRUPTED, guarded, terminable
from harness.isolate.extra import imported
from harness.options.compose import compose
from harness.options.config import HarnessConfig
from harness.options.devices import resolve_device
from harness.options.points import Point
from harness.options.shards import Shard
from harness.progress import Progress
from harness.store import history
from harness.store.environment import describe_environment
from harness.store.lock import locked
from harness.store.parts import part_held, pending_names, summing
from harness.store.results import RunFolder, folder_name
from harness.sweep import Launch, TimeLimit, launch, plan_of, run_sweep
from harness.table import finding, print_table
from harness.workload.scratch import scratch_folder
from strategies.errors import UserError

MODULE = "harness"
"""The module by which points are composed here; other commands, which measure by `measure`, have others."""
PENDING = 3
"""The exit code of a run whose time was over before all points had begun."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    return guarded(lambda: _run(list(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> int:
    points = compose(arguments)
    if not points:  # Hydra has only printed its help or the like.
        return 0
    code, run = measure(points)
    if points[0].config.shard is not None:  # A part's points alone are no finding.
        return code
    if (line := finding(run.rows)) is not None:
        print(line)
    return code


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a sweep ended.

    report: what the reporter wrote; None where there is no reporter or no row, or others measure the rest of the run.
    pending: names of the points and extras that were left when ``minutes`` were over. others: how many points of other
    parts of the run have no result yet. error: what is to be raised when all is told.
    """

    run: RunFolder
    interrupted: bool
    report: Path | None
    minutes: float | None
    pending: Sequence[str]
    others: int
    error: Exception | None

    @property
    def pending_sentence(self) -> str:
        more = f" and {len(self.pending) - 1} more" if len(self.pending) > 1 else ""
        return (
            f"minutes={self.minutes:g} were over before all had begun (pending: {self.pending[0]}{more}): "
            "resume=true goes on"
        )


def measure(
    points: Sequence[Point], *, warned: set[str] | None = None, launch: Launch = launch
) -> tuple[int, RunFolder]:
    """Measure a grid, report it and tell of it; returns the exit code and the run.

    warned, launch: see `measured`. What `run_sweep` raises is raised again after that.
    """
    ended = measured(points, warned=warned, launch=launch)
    run, code = ended.run, INTERRUPTED if ended.interrupted else 0
    if run.rows:
        print_table(run.rows)
        print(f"results: {run.path}" if ended.report is None else f"report: {ended.report}")
    if ended.others:
        summed = f"python -m harness.collect {shlex.quote(str(run.path))} sums up what is there"
        print(f"{ended.others} points of other parts are pending; {summed}")
    if ended.pending:
        code = PENDING
        print(ended.pending_sentence)
    if ended.error is not None:
        raise ended.error
    asked = {point.name for point in points}
    bad = any(row.status not in ("ok", "skipped") for row in run.rows if row.point in asked)
    return code or int(bad), run


def measured(points: Sequence[Point], *, warned: set[str] | None = None, launch: Launch = launch) -> Ended:
    """Measure a grid and report it, and print nothing but the sweep's progress.

    warned: the warnings that need not be given again, to which this adds its own. launch: does the points' jobs.
    Raises UserError for bad input that is known before the first point.
    """
    _check_inputs(points)
    config = points[0].config
    reporter = None if config.reporter is None else imported(config.reporter, option="reporter")
    for function in (*config.extras.before, *config.extras.after):
        imported(function, option="extras")
    if config.shard is not None:
        if points[0].module != MODULE:
            raise UserError(
                f"shard={config.shard} is for python -m {MODULE} and not for {points[0].module}: leave it out"
            )
        shard = Shard.parsed(config.shard)
        path, mine = Path(config.results) / config.name, [point.name for point in points[shard.stretch(len(points))]]
        environment = describe_environment(resolve_device(config.device))
        held = part_held(path, shard, plan=plan_of(points), environment=environment)
        with _writable(path, held):
            return _swept(points, RunFolder(path, part=mine), reporter, warned=warned, launch=launch, mine=mine)
    path = _resumed(config) or Path(config.results) / folder_name(config.name, datetime.now())
    with _writable(path, locked(path)):
        return _swept(points, RunFolder(path), reporter, warned=warned, launch=launch)


def _swept(
    points: Sequence[Point],
    run: RunFolder,
    reporter: Callable[[Path], Path] | None,
    *,
    warned: set[str] | None,
    launch: Launch,
    mine: Collection[str] | None = None,
) -> Ended:
    interrupted = False
    minutes = points[0].config.minutes
    limit = TimeLimit(math.inf if minutes is None else 60 * minutes)
    pending: list[str] = []
    error: Exception | None = None
    report: Path | None = None
    try:
        with terminable(), Progress(len(points) if mine is None else len(mine), warned=warned) as progress:
            pending = run_sweep(points, run, progress, launch=launch, limit=limit, mine=mine)
    except KeyboardInterrupt:
        interrupted = True
    except Exception as raised:  # Bad input, or with isolation=inline what a strategy raised, is raised in the end.
        error = raised
    others = 0 if mine is None else len(set(pending_names(run.path)) - set(mine))
    if run.rows and mine is None:
        history.append(run.path)
    if run.rows and not others:
        try:
            report = summed_up(run.path, reporter) if mine is not None else reporter(run.path) if reporter else None
        except (OSError, UserError) as raised:  # What was measured is stored; why the report is missing is reported.
            error = error or UserError(f"the report of {run.path} can't be written ({raised})")
    return Ended(
        run=run,
        interrupted=interrupted,
        report=report,
        minutes=minutes,
        pending=pending if limit.left <= 0 else [],
        others=others,
        error=error,
    )


def summed_up(run: Path, reporter: Callable[[Path], Path] | None) -> Path | None:
    """Make summary, history and report of what a run in parts has; returns what the reporter wrote.

    Parts may be at work. Raises UserError and OSError where these can't be written.
    """
    with summing(run):
        RunFolder(run).write_summary()
        history.append(run)
        return None if reporter is None else reporter(run)


def _resumed(config: HarnessConfig) -> Path | None:
    """Return the folder of the run to resume, or None for a new run, as when there is nothing to resume yet."""
    if isinstance(config.resume, str):
        folder = Path(config.resume)
        if not (folder / "points").is_dir():
            raise UserError(f"resume={folder} is not the folder of a run; give one as results/<time>-<name>, or true")
        return folder.resolve()  # `latest` may be given, and is about to point elsewhere.
    if not config.resume:
        return None
    name = re.compile(rf"\d{{8}}-\d{{6}}-\d{{6}}-{re.escape(config.name)}")  # `measure` names folders like this.
    runs = [points.parent for points in Path(config.results).glob("*/points") if name.fullmatch(points.parent.name)]
    last = (Path(config.results) / "latest").resolve()  # It is right where the clock, which gave the names, was not.
    return next((run for run in runs if run.resolve() == last), max(runs, default=None))


@contextmanager
def _writable(path: Path, lock: AbstractContextManager[None]) -> Iterator[None]:
    with ExitStack() as stack:
        try:
            stack.enter_context(lock)
        except OSError as error:
            place = f"{path}/" if path.exists() else f"results={path.parent}"
            raise UserError(
                f"{place} can't be written to ({error.strerror}); give another folder as results=FOLDER"
            ) from error
        yield


def _check_inputs(points: Sequence[Point]) -> None:
    """Check what can be known of devices, data and room for features before the first point is measured."""
    with scratch_folder():
        pass
    for config in {(point.workload, point.config.objects): point.config for point in points}.values():
        resolve_device(config.device)
        open_groups(config)
