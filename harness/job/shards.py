"""One job in several parts that may run at the same time into one folder, as ``shard=3/16``.

A part is a stretch of all groups' batches, in order, so that a part has few groups and all parts together have the
masks of the undivided job. Each keeps what it has done in a folder of its own in ``.shards``; who ends last makes one
ledger of all. Parts hold the folder's lock together, so an undivided run and parts keep each other out.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

from harness.options.shards import FOLDER, Shard, refuse_other_parts
from harness.pipeline.ledger import NAME, Ledger
from harness.pipeline.plan import Work
from harness.schema import StrictStr, fitted, read_json
from harness.store.atomic import remove_unfinished, write_whole
from harness.store.lock import locked
from strategies.errors import UserError

DONE = "done.json"
ROWS = 10_000
"""Rows that are moved at once."""
Broken = tuple[StrictStr, StrictStr, StrictStr]
"""Group, target and reason of what was left out; the target is empty where all of a group is."""


def part_of(shard: Shard, plan: Sequence[Work], *, batch: int, whole_groups: bool) -> list[Work]:
    """Return the part's work: whole batches, or whole groups where a target's mask depends on those before it."""
    pieces = [
        (at, slice(start, start + size))
        for at, work in enumerate(plan)
        for size in (len(work.group.targets) if whole_groups else batch,)
        for start in range(0, len(work.group.targets), size)
    ]
    mine: dict[int, list[slice]] = {}
    for at, piece in pieces[shard.stretch(len(pieces))]:
        mine.setdefault(at, []).append(piece)
    return [_only(plan[at], slice(found[0].start, found[-1].stop)) for at, found in mine.items()]


def _only(work: Work, chosen: slice) -> Work:
    return replace(work, group=replace(work.group, targets=work.group.targets[chosen]))


@contextmanager
def job_lock(folder: Path, out: Path, **options: Any) -> Iterator[None]:
    """Hold the lock of a job's folder, with the options of `locked`. Raises UserError where it can't be written to."""
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(folder, doing="labelled", **options))
        except OSError as error:
            raise UserError(f"out={out} can't be written to ({error.strerror}); give another folder") from error
        yield


@contextmanager
def alone(out: Path) -> Iterator[None]:
    """Be the only part that settles something for all of them; the others wait."""
    with job_lock(out, out, name=f"{FOLDER}.lock", wait=True):
        yield


@contextmanager
def held(shard: Shard, out: Path) -> Iterator[Path]:
    """Hold a part's folder, in which its ledger knows what is done already.

    Raises UserError where another process has it, and where the job was begun in another number of parts.
    """
    refuse_other_parts(shard, out, otherwise="leave out shard= to go on in one part")
    folder = shard.folder(out)
    with job_lock(folder, out, otherwise="give another shard="):
        (folder / DONE).unlink(missing_ok=True)
        if (out / NAME).exists():
            with Ledger(out) as whole, Ledger(folder) as part:
                _add(whole, part)
        yield folder


def ended(shard: Shard, out: Path, broken: Sequence[Broken]) -> list[Broken] | None:
    """Note that a part is done. Where all are, make one ledger of theirs and return what all of them left out."""
    write_whole(shard.folder(out) / DONE, json.dumps(broken))
    done = [one.folder(out) / DONE for one in shard.every()]
    if not all(path.exists() for path in done):
        return None
    try:
        found = [one for path in done for one in fitted(list[Broken], read_json(path))]
    except (OSError, ValueError) as error:
        raise UserError(f"{out / FOLDER} is damaged ({error}): remove it, and all masks are made again") from error
    adopt(out)
    return list(dict.fromkeys(found))


def adopt(out: Path) -> None:
    """Make one ledger of what parts have done, of which none may be at work."""
    folders = sorted((out / FOLDER).glob("*-of-*"))
    if folders:
        remove_unfinished(out)
        with Ledger(out) as whole:
            for folder in folders:
                with Ledger(folder) as part:
                    _add(part, whole)
        shutil.rmtree(out / FOLDER)


def _add(source: Ledger, to: Ledger) -> None:
    rows = source.rows()
    while some := list(islice(rows, ROWS)):
        to.add(some)
