"""A run that several processes measure at the same time, each a part of its points (``shard=2/8``), into one folder.

Parts hold the folder's lock together, so an undivided run and parts keep each other out, and each has a lock of its
own. Who sums up all waits until nobody else does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.options.shards import FOLDER, Shard, numbers_of_parts, refuse_other_parts
from harness.schema import read_object
from harness.store.lock import locked
from harness.store.recorded import planned_names, results_of
from strategies.errors import UserError

SUMMING = f"{FOLDER}.lock"


@contextmanager
def part_held(run: Path, shard: Shard, *, names: Sequence[str], device: str) -> Iterator[None]:
    """Hold a part of a run. names: those of all its points. device: the one that this part measures on.

    Raises UserError where another process has the part or all of the run, where the folder holds something else, and
    where the run is one of other points or of another device. Raises OSError where the folder can't be written to.
    """
    if run.is_symlink() or (run.exists() and not (run.is_dir() and _is_ours(run))):
        raise UserError(f"{run} is there and holds no run in parts: give another name=, or another folder as results=")
    with locked(run, otherwise="give another name=", shared=True):
        with summing(run):
            refuse_other_parts(shard, run, otherwise=f"resume={run} without shard= to go on in one part")
            _refuse_other_runs(run, names, device)
            shard.folder(run).mkdir(parents=True, exist_ok=True)
        with locked(shard.folder(run), otherwise="give another shard="):
            yield


@contextmanager
def summing(run: Path) -> Iterator[None]:
    """Be the only one that settles something for all parts of a run; others wait."""
    with locked(run, name=SUMMING, wait=True):
        yield


def pending_names(run: Path) -> list[str]:
    """Return the names of the planned points that have no result yet, in order."""
    done = {stored.result.row.point for stored in results_of(run)}
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


def _refuse_other_runs(run: Path, names: Sequence[str], device: str) -> None:
    planned = planned_names(run)
    if planned and planned != list(names):
        raise UserError(f"{run} holds another sweep, of {len(planned)} other points: give another name=")
    measured_on = (read_object(run / "environment.json") or {}).get("device")
    if measured_on not in (None, device):
        raise UserError(
            f"{run} is measured on {measured_on}, and this is {device}: results of two devices are two runs, so give "
            "another name="
        )
