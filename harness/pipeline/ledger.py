"""What a job has done, target by target, in one file beside the masks: ``labels.sqlite``.

A target is entered after its mask is on disk, a batch at a time, so that a job that is cut off anywhere makes nothing
twice but the batch that it was at. Tables are made of it, sorted, without holding more than a row in memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from strategies.errors import UserError

NAME = "labels.sqlite"


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """One object in one target. What a field holds:

    group: the group's name
    target: the target's name
    picture: the picture's file name
    mask: the mask's file, relative to the folder of masks
    picture_width: pixels
    picture_height: pixels
    object: the id, as in the references and in the mask
    area: pixels of the object, in the mask as the job wrote it, whatever people have corrected in it since
    x: left edge of the box around them; 0, as the next three, where there are none
    y: upper edge of the box
    width: of the box
    height: of the box
    object_score: the network's that the object is in the picture, above 0 for yes; empty where it is no number
    predicted_iou: the network's, of the mask that it chose; empty where it is no number
    confidence: 0 to 1, that the object is where the mask has it: `predicted_iou` times the probability that it is in
    the picture, which `object_score` is the logit of; where it has no pixel, the probability that it is not
    border: 1 where the object touches the picture's edge
    flag: `unsure` where confidence is below one half, else `absent` where the object has no pixel
    j: J against the truth, where there is any
    f: F against the truth, where there is any
    """

    group: str
    target: str
    picture: str
    mask: str
    picture_width: int
    picture_height: int
    object: int
    area: int
    x: int
    y: int
    width: int
    height: int
    object_score: float | None
    predicted_iou: float | None
    confidence: float
    border: bool
    flag: str
    j: float | None
    f: float | None


COLUMNS = tuple(field.name for field in fields(Labelled))
TABLE = ", ".join(f'"{name}"' for name in COLUMNS)
"""The columns, quoted, because ``group`` is a word of SQL."""
KEY = '"group", "target", "object"'


class Ledger:
    """The file, open for a job that holds its folder's lock."""

    def __init__(self, out: Path) -> None:
        """Raises UserError where the file is damaged or can't be written."""
        self._path = out / NAME
        with self._explained():
            self._rows = sqlite3.connect(self._path)
            self._rows.execute(f"CREATE TABLE IF NOT EXISTS labels ({TABLE}, PRIMARY KEY ({KEY})) WITHOUT ROWID")

    def add(self, rows: Sequence[Labelled]) -> None:
        """Enter targets with all their objects at once; what was entered of them before is replaced."""
        with self._explained(), self._rows:
            places = ", ".join("?" * len(COLUMNS))
            self._rows.executemany(f"INSERT OR REPLACE INTO labels VALUES ({places})", map(astuple, rows))

    def done(self, group: str) -> set[str]:
        """Return the names of a group's targets that are entered."""
        return {name for (name,) in self._select('SELECT DISTINCT "target" FROM labels WHERE "group" = ?', group)}

    def rows(self) -> Iterator[Labelled]:
        """Yield everything, sorted by group, target and object."""
        return (_labelled(row) for row in self._select(f"SELECT {TABLE} FROM labels ORDER BY {KEY}"))

    def least_confident(self, count: int) -> list[list[Labelled]]:
        """Return so many targets with all their objects, those first whose worst object has the lowest confidence."""
        worst = (
            'SELECT "group", "target" FROM labels GROUP BY "group", "target" '
            'ORDER BY MIN("confidence"), "group", "target" LIMIT ?'
        )
        rows = f'SELECT {TABLE} FROM labels WHERE "group" = ? AND "target" = ? ORDER BY "object"'
        return [[_labelled(row) for row in self._select(rows, *key)] for key in list(self._select(worst, count))]

    def scores(self) -> tuple[float, float] | None:
        """Return J and F, each the mean over objects of their means over targets; None where nothing has truth."""
        means = 'SELECT AVG("j") AS j, AVG("f") AS f FROM labels WHERE "j" IS NOT NULL GROUP BY "group", "object"'
        ((j, f),) = self._select(f"SELECT AVG(j), AVG(f) FROM ({means})")
        return None if j is None else (j, f)

    def _select(self, query: str, *values: Any) -> Iterator[tuple[Any, ...]]:
        with self._explained(), closing(self._rows.execute(query, values)) as cursor:
            yield from cursor

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise UserError(f"{self._path} can't be written ({error})") from error
        except sqlite3.DatabaseError as error:
            raise UserError(f"{self._path} is damaged ({error}): remove it, and all masks are made again") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._rows.close()


def _labelled(row: tuple[Any, ...]) -> Labelled:
    values = dict(zip(COLUMNS, row, strict=True))
    return Labelled(**values | {"border": bool(values["border"])})
