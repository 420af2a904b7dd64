"""A run that several processes measure at the same time, each a part of its points (``shard=2/8``), into one folder.

Parts hold the folder's lock together, so an undivided run and parts keep each other out, and each has a lock of its
own. Who sums up all waits until nobody else does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.options.shards import FOLDER, Shard, numbers_of_parts, refuse_other_parts
from harness.result import PointResult
from harness.schema import read_object
from harness.store.atomic import write_whole
from harness.store.lock import locked
from harness.store.recorded import planned_names, results_of
from harness.store.results import json_text
from strategies.errors import UserError

SUMMING = f"{FOLDER}.lock"


@contextmanager
def part_held(
    run: Path, shard: Shard, *, plan: Sequence[Mapping[str, Any]], environment: Mapping[str, Any]
) -> Iterator[None]:
    """Hold a part of a run. plan, environment: what plan.json and environment.json hold of what this part belongs to.

    Raises UserError where another process has the part or all of the run, where the folder holds something else, and
    where the run is one of other points, of another device or another number of threads. Raises OSError where the
    folder can't be written to.
    """
    if run.is_symlink() or (run.exists() and not (run.is_dir() and _is_ours(run))):
        raise UserError(f"{run} is there and holds no run in parts: give another name=, or another folder as results=")
    with locked(run, otherwise="give another name=", shared=True):
        with summing(run):
            refuse_other_parts(shard, run, otherwise=f"resume={run} without shard= to go on in one part")
            _refuse_other_runs(run, [one["point"] for one in plan], environment)
            shard.folder(run).mkdir(parents=True, exist_ok=True)
            # Parts that begin at the same moment are to see it, and not only those that begin later.
            write_whole(run / "plan.json", json_text(plan))
            write_whole(run / "environment.json", json_text(environment))
        with locked(shard.folder(run), otherwise="give another shard="):
            yield


@contextmanager
def summing(run: Path) -> Iterator[None]:
    """Be the only one that settles something for all parts of a run; others wait."""
    with locked(run, name=SUMMING, wait=True):
        yield


def pending_names(run: Path) -> list[str]:
    """Return the names of the planned points that have no result yet of all their processes, in order."""
    done = {stored.result.row.point for stored in results_of(run) if _is_whole(stored.result)}
    return [name for name in planned_names(run) if name not in done]


def pending_parts(run: Path) -> list[tuple[Shard, list[str]]]:
    """Return the parts of a run that have pending points, with these; none where it was not begun in parts."""
    planned, pending = planned_names(run), set(pending_names(run))
    parts = (one for of in sorted(numbers_of_parts(run)) for one in Shard(number=1, of=of).every())
    left = [(one, [name for name in planned[one.stretch(len(planned))] if name in pending]) for one in parts]
    return [(one, names) for one, names in left if names]


def _is_ours(run: Path) -> bool:
    """Whether a folder has parts, or nothing but locks: another part may be about to begin."""
    return (run / FOLDER).is_dir() or all(path.name.startswith(".") for path in run.iterdir())


def _is_whole(result: PointResult) -> bool:
    timing = result.config.get("timing")
    asked = timing.get("processes") if isinstance(timing, dict) else None
    return result.row.status != "ok" or not isinstance(asked, int) or (result.row.processes or 1) >= asked


def _refuse_other_runs(run: Path, names: Sequence[str], environment: Mapping[str, Any]) -> None:
    planned = planned_names(run)
    if planned and planned != list(names):
        raise UserError(f"{run} holds another sweep, of {len(planned)} other points: give another name=")
    before = read_object(run / "environment.json") or {}
    if not (planned and before) and any((run / "points").glob("*.json")):
        raise UserError(f"{run} has points, and its plan.json or environment.json can't be read: give another name=")
    if before.get("device", environment["device"]) != environment["device"]:
        raise UserError(
            f"{run} is measured on {before['device']}, and this is {environment['device']}: results of two devices are "
            "two runs, so give another name="
        )
    if before.get("threads", environment["threads"]) != environment["threads"]:
        raise UserError(
            f"{run} is measured with {before['threads']} threads, and here torch has {environment['threads']}: set "
            f"OMP_NUM_THREADS={before['threads']}, or give another name="
        )
