"""Which points of several runs are the same grid point, and what keeps the others apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from harness.options.words import BASELINE, option_of, parted, what_words, words_of
from harness.row import CATALOGUE
from harness.store.recorded import planned_names
from report.reading.run import Run
from strategies.errors import UserError, did_you_mean

COUNTS = ("objects", "refs", "targets")
"""Columns that hold how many there were, for which null as an option means all."""
SAME_POINT = tuple(name for name, column in CATALOGUE.items() if column.identifies)
"""Columns whose values identify a grid point across runs, together with the baseline strategy it is timed against and
the options that have no column."""
MOST_VALUES = 4
"""At most so many values of a run are named; more are only counted."""

Key = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Point:
    """A row of a run's summary. facts: what identifies its grid point, by names as options and columns have them."""

    row: pd.Series
    facts: dict[str, str]

    @property
    def key(self) -> Key:
        return tuple(sorted(self.facts.items()))

    def on(self, names: Sequence[str]) -> Key:
        """Return what these facts alone are; one that the point lacks is empty."""
        return tuple((name, self.facts.get(name, "")) for name in names)


@dataclass(frozen=True, kw_only=True)
class Matched:
    """The points of several runs.

    on: the names of the facts that had to be equal; empty for all of them. matches: for each grid point that several
    runs have, its row in each run, or None. lone: the points of which only one run has the grid point, by the run's
    place. unclear: the same for points of which a run has several that are equal in ``on``.
    """

    on: tuple[str, ...]
    matches: tuple[tuple[Point | None, ...], ...]
    lone: tuple[tuple[int, Point], ...]
    unclear: tuple[tuple[int, Point], ...]
    runs: int

    @cached_property
    def kept_apart(self) -> str:
        """What keeps the lone points from matching, as "targets 16 / 32; objects all / 4": each run's values in turn.

        Empty where fewer than two runs have lone points.
        """
        return _differences([[point for at, point in self.lone if at == run] for run in range(self.runs)])

    @property
    def overlooked(self) -> str:
        """In which facts matched points differ nevertheless, in the same words."""
        matched = [[match[run] for match in self.matches] for run in range(self.runs)]
        return _differences([[point for point in of_run if point is not None] for of_run in matched])

    @property
    def common(self) -> list[str]:
        """Names of facts that lone points share between runs, and that tell a run's own points apart."""
        facts = [[point.facts for at, point in self.lone if at == run] for run in range(self.runs)]
        found = []
        for name in SAME_POINT:
            values = [{one.get(name, "") for one in of_run} for of_run in facts if of_run]
            if len(values) > 1 and set.intersection(*values) and (name == "strategy" or max(map(len, values)) > 1):
                found.append(name)
        return found


def matched(runs: Sequence[Run], on: Sequence[str] = ()) -> Matched:
    """Match the points of runs by all that identifies them, or ``on`` some facts alone.

    Raises UserError where no point has a fact of a name in ``on``.
    """
    crowded = set().union(*(_crowded(run) for run in runs))
    of_runs = [_points(run, crowded) for run in runs]
    names = sorted({name for points in of_runs for point in points for name in point.facts})
    for name in on:
        if name not in names:
            raise UserError(f"--on {name} is not known; {did_you_mean(name, names)}valid: {', '.join(names)}")
    keyed = [[(point.on(on) if on else point.key, point) for point in points] for points in of_runs]
    counts = [Counter(key for key, _ in points) for points in keyed]
    several = {key for count in counts for key, many in count.items() if many > 1}
    by_key = [{key: point for key, point in points if key not in several} for points in keyed]
    matches, lone = [], []
    for key in dict.fromkeys(key for points in by_key for key in points):
        match = tuple(points.get(key) for points in by_key)
        there = [(at, point) for at, point in enumerate(match) if point is not None]
        if len(there) > 1:
            matches.append(match)
        else:
            lone += there
    return Matched(
        on=tuple(on),
        matches=tuple(matches),
        lone=tuple(sorted(lone, key=lambda one: one[0])),
        unclear=tuple((at, point) for at, points in enumerate(keyed) for key, point in points if key in several),
        runs=len(runs),
    )


def _points(run: Run, crowded: Set[Key]) -> list[Point]:
    """Return a run's points; of a grid point that was measured again, the last result counts."""
    points = [Point(row=row, facts=_facts(run, row)) for row in run.rows.values()]
    apart = [
        Point(row=one.row, facts=one.facts | dict(_how(run, one.row))) if one.key in crowded else one for one in points
    ]
    return list({point.key: point for point in apart}.values())


def _crowded(run: Run) -> set[Key]:
    """Return the keys that several points of one sweep have, because they differ in how they were measured alone."""
    asked = set(planned_names(run.folder))
    rows = (row for row in run.rows.values() if row["point"] in asked)
    counts = Counter(Point(row=row, facts=_facts(run, row)).key for row in rows)
    return {key for key, count in counts.items() if count > 1}


def _facts(run: Run, row: pd.Series) -> dict[str, str]:
    """Return what identifies a row's grid point.

    Counts and the baseline strategy are taken from a point's options where these are known, because a point that failed
    stores neither how many objects "all" is nor its baseline.
    """
    known = bool(run.of(row, "config"))
    columns = {name: run.of(row, "config", name) if known and name in COUNTS else row[name] for name in SAME_POINT}
    texts = {name: _text(value) for name, value in columns.items()} | {"baseline": _text(_baseline(run, row))}
    return texts | dict(_option(_anywhere(word)) for word in what_words(_words(run, row)))


def _how(run: Run, row: pd.Series) -> Iterator[tuple[str, str]]:
    """Yield the options that say how the point was measured, rather than what."""
    words = _words(run, row)
    what = set(what_words(words))
    yield from (_option(word) for word in words if word not in what)


def _words(run: Run, row: pd.Series) -> list[str]:
    """Return the point's options that have no column; where the row is older than such a column, its file has them."""
    options = run.of(row, "config")
    stored = words_of(options) if isinstance(options, dict) else []
    listed = parted(row["options"]) if pd.notna(row["options"]) else stored
    return [word for word in listed if option_of(word) != BASELINE]


def _anywhere(word: str) -> str:
    """Name a folder by its last part, because where it lies differs from machine to machine."""
    option, value = _option(word)
    return f"{option}={Path(value).name}" if option in ("data.root", "model.weights") else word


def _option(word: str) -> tuple[str, str]:
    option, _, value = word.partition("=")
    return option, value


def _baseline(run: Run, row: pd.Series) -> str | None:
    """Identify the baseline strategy by its class, which failed points store too, or else by its name."""
    target = run.of(row, "config", "baseline", "_target_") or run.of(row, "config", "reference", "_target_")
    if not isinstance(target, str):
        return row["reference"]
    return None if run.of(row, "config", "paired") is False else target


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    return f"{value:.0f}" if isinstance(value, float) else str(value)


def _differences(runs: Sequence[Sequence[Point]]) -> str:
    """Name the facts in which runs have no value in common, or where there are none, those whose values differ."""
    filled = [points for points in runs if points]
    if len(filled) < 2:
        return ""
    names = list(dict.fromkeys(name for points in filled for point in points for name in point.facts))
    values = {
        name: [list(dict.fromkeys(one.facts.get(name, "") for one in points)) for points in runs] for name in names
    }
    there = {name: [set(of_run) for of_run in of_runs if of_run] for name, of_runs in values.items()}
    apart = [name for name in names if not set.intersection(*there[name])]
    apart = apart or [name for name in names if any(one != there[name][0] for one in there[name])]
    return "; ".join(f"{name} {' / '.join(_listed(name, of_run) for of_run in values[name])}" for name in apart)


def _listed(name: str, values: Sequence[str]) -> str:
    if not values:
        return "-"
    if len(values) > MOST_VALUES:
        return f"{len(values)} values"
    empty = "all" if name in COUNTS else "default" if name not in (*SAME_POINT, "baseline") else "none"
    return ", ".join(value or empty for value in values)
