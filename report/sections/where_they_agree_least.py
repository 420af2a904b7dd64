"""The targets in which points agree least with `sequential`: which of them are shown, and a table of the worst."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Protocol, TypeVar

import pandas as pd

from report.reading.run import Run, dig, finite
from report.render.document import Column, Table, filled, number, words
from report.sections.labels import labelled
from report.sections.points_table import KEYS, column_cell

MOST_ROWS = 10
IOU = "{:.5f}"
"""The format of an IoU, with enough digits to show one pixel of a mask at the model's resolution."""


class HasIou(Protocol):
    @property
    def iou(self) -> float: ...


Item = TypeVar("Item", bound=HasIou)


@dataclass(frozen=True, kw_only=True)
class Worst:
    """A target of a point and the object in it that agrees least.

    row: the point's row of the summary. iou: the object's IoU; 1 where nothing was compared.
    """

    row: pd.Series
    group: str
    target: int
    object_id: int | None
    iou: float


def worst_of(row: pd.Series, stored: Any) -> Worst | None:
    """Read a target as a run stores it; returns None where it is damaged."""
    group, target, object_id = (dig(stored, name) for name in ("group", "target", "object_id"))
    iou = finite(dig(stored, "iou"))
    if not isinstance(group, str) or not isinstance(target, int) or not isinstance(object_id, int | None):
        return None
    return Worst(row=row, group=printable(group), target=target, object_id=object_id, iou=1.0 if iou is None else iou)


def printable(name: str) -> str:
    """Make a folder's name printable, which may hold bytes that are no text."""
    return name.encode(errors="replace").decode()


def taken_in_turns(queues: Iterable[Sequence[Item]], most: int) -> list[Item]:
    """Take the worst items of all queues in turns, at most ``most``; returns them with the worst first.

    Each queue has its worst first. No queue gives a second item before all gave one.
    """
    picked: list[Item] = []
    for turn in zip_longest(*queues):
        picked += sorted((one for one in turn if one is not None), key=lambda one: one.iou)
    return sorted(picked[:most], key=lambda one: one.iou)


def worst_table(run: Run) -> Table | None:
    """Make a table of the worst targets, each once for a strategy; returns None where no masks differ."""
    of_points = [_differing(run, row) for row in run.rows.values()]
    unique: dict[tuple[str, str, int, int | None], Worst] = {}
    for one in sorted(chain(*of_points), key=lambda one: (one.iou, -one.row["batch"])):
        unique.setdefault((one.row["label"], one.group, one.target, one.object_id), one)
    kept = set(map(id, unique.values()))
    worst = taken_in_turns([[one for one in queue if id(one) in kept] for queue in of_points], MOST_ROWS)
    keys = [name for name in KEYS if name != "repeat" or run.summary["repeat"].nunique() > 1]
    columns = [
        (labelled("strategy", words=True), [words(one.row["label"]) for one in worst]),
        *((labelled(name), [column_cell(one.row, name) for one in worst]) for name in keys),
        (Column(title="group", words=True), [words(one.group) for one in worst]),
        (Column(title="target"), [number(one.target, "{:.0f}") for one in worst]),
        (Column(title="object"), [number(one.object_id, "{:.0f}") for one in worst]),
        (Column(title="IoU"), [number(one.iou, IOU) for one in worst]),
    ]
    return filled(columns, "Where they agree least")


def _differing(run: Run, row: pd.Series) -> list[Worst]:
    stored = run.of(row, "details", "agreement", "worst")
    found = [worst_of(row, one) for one in stored] if isinstance(stored, list) else []
    return sorted((one for one in found if one is not None and one.iou < 1), key=lambda one: one.iou)
