"""The row of summary.csv that a grid point ends with: its columns, with their types, units, formats and meanings.

Whatever shows, checks or explains a column derives it from `Row`: the summary, the terminal's table, the report's types
and numbers, and the reference documentation. The columns of a theme stand in a file of their own; each class has those
of the themes before it, so that all keep their order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from harness.column import column, columns_of, measured
from harness.row.point import Status
from harness.row.stream import StreamColumns
from harness.stats.best import Speed

STATUSES: tuple[Status, ...] = get_args(Status)
SPEEDUP = ("speedup", "speedup_lo", "speedup_hi", "verdict")
"""Columns that a point has only if its masks are right."""
STAR = "*"
"""The mark of a number that was not measured long enough."""


@dataclass(frozen=True, kw_only=True)
class Row(StreamColumns):
    """What a grid point was and what was found of it; None is what was not measured.

    Raises ValueError for a value that its column can't hold, and for a speed-up of a point that is not ok.
    """

    repeat: int = column(
        "The point was measured several times, and this is which of them, from 0.",
        format=".0f",
        identifies=True,
        default=0,
        shown="where it varies",
    )
    options: str | None = measured(
        "These options differ from their defaults and have no column of their own, as they are typed on a "
        "command line.",
        shown="where it varies",
    )
    command: str = column("This command measures the point again.")

    def __post_init__(self) -> None:
        for one in CATALOGUE.values():
            if not one.holds(value := getattr(self, one.name)):
                raise ValueError(f"not a result row: its {one.name} can't be {value!r}")
        if self.status != "ok" and any(getattr(self, name) is not None for name in SPEEDUP):
            raise ValueError(f"a point that is {self.status} has no speed-up: {self}")

    @property
    def speed(self) -> Speed:
        """What the choice among points goes by. Only a point with an fps has it."""
        assert self.fps is not None
        return Speed(
            fps=self.fps, baseline=self.reference, lo=self.speedup_lo, hi=self.speedup_hi, verdict=self.verdict
        )

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Row:
        """Read what `asdict` gave, in this version or another; columns that this version does not know are left out.

        Raises ValueError where a value is missing or invalid, TypeError where the row is no mapping.
        """
        missing = [name for name in COLUMNS if name not in content and CATALOGUE[name].required]
        if missing:
            raise ValueError(f"not a result row: it has no {', '.join(missing)}")
        return Row(**{name: content[name] for name in COLUMNS if name in content})


CATALOGUE = columns_of(Row)
"""The columns of summary.csv by their names, in order."""
COLUMNS = tuple(CATALOGUE)
SETTING = tuple(name for name, one in CATALOGUE.items() if one.setting)
"""Columns that say what strategies are compared on."""
GATED = tuple(name for name, one in CATALOGUE.items() if one.gate)
"""Columns that the regression gate compares."""


def doubtful_column(*, converged: bool | None, has_speedup: bool) -> str | None:
    """Return the column whose number timing that ended too early leaves uncertain; None where it did not."""
    if converged is not False:
        return None
    return "speedup" if has_speedup else "fps"


def column_reference() -> list[tuple[str, str, str]]:
    """Return name, unit and meaning of every column, in order; the unit is empty for words and pure numbers."""
    return [(one.name, one.unit, one.help) for one in CATALOGUE.values()]
