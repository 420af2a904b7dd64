"""Keys by which the same point is recognised across runs, machines and versions of the code.

A point's name is of no use here, because it holds a hash of all options, timing included. A key holds, in words, only
what a person would call a different point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.options.data import SOURCES
from harness.options.shipped import default_baseline, strategies
from harness.options.words import BASELINE, option_of, parted, what_words, words_of
from harness.row import Row
from harness.store.recorded import planned_names, results_of
from strategies.errors import UserError

if TYPE_CHECKING:  # The points' module imports torch, which reading keys does not need.
    from harness.options.points import Point

DATA_DEFAULTS = {name: {option.name: option.default for option in fields(kind)} for name, kind in SOURCES.items()}
"""Defaults of each source that are left out of keys, so that a new option of the data leaves old keys as they are."""
IN_OWN_WORDS = ("seed", "model.weights", BASELINE)
"""Options that keys hold in words of their own, as they do ``data.*``."""


def key_of(point: Point) -> str:
    """Return the key of a point, which need not be measured yet."""
    return _key(point.strategy, point.variant, point.options, point.words)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One result of a point in a run's folder.

    processes: how many were asked to measure it. made_by: hashes of the code and the machine. details: see
    `PointResult`. time: when the result was stored.
    """

    key: str
    row: Row
    processes: int
    made_by: Sequence[str | None]
    details: Mapping[str, Any]
    time: datetime

    @property
    def complete(self) -> bool:
        """Whether it was not cut off, by its ``timeout`` or before all of its processes had measured it."""
        if self.row.status == "ok":
            return (self.row.processes or 1) >= self.processes
        return self.row.status != "timeout"


def measured(run: Path) -> dict[str, Measured]:
    """Return all points of a run that have a result, by key.

    A point that was measured again, as with longer timing, has the same key, and its last result counts that is
    complete: what was cut off does not stand for the point, unless there is nothing else.
    """
    return {key: last_complete(results) for key, results in attempts(run).items()}


def last_complete(results: Sequence[Measured]) -> Measured:
    """Return the last complete one of a point's results, or the last one where none is."""
    return next((one for one in reversed(results) if one.complete), results[-1])


def attempts(run: Path) -> dict[str, list[Measured]]:
    """Return the results of each of a run's points, oldest first, by key.

    Those of other code or another machine than the last one's, as a run has that was resumed, are left out. Files that
    are damaged are ignored.
    """
    found: dict[str, list[Measured]] = {}
    for one in _results(run):
        earlier = [before for before in found.get(one.key, []) if before.made_by == one.made_by]
        found[one.key] = [*earlier, one]
    return found


def planned(run: Path) -> list[tuple[str, str]]:
    """Return keys and names of the points that a run's last command asked for and that have a result."""
    names = set(planned_names(run))
    return [(one.key, one.row.point) for one in _results(run) if one.row.point in names]


def refuse_duplicate_keys(points: Iterable[tuple[str, str]]) -> None:
    """Raise UserError where two points, given by key and name, have one key: only one of them would count."""
    names: dict[str, str] = {}
    for key, name in points:
        if names.setdefault(key, name) != name:
            raise UserError(
                f"a snapshot can't tell apart points that are {key}, as {names[key]} and {name} are: they differ in "
                "options that it does not hold, so check one of them at a time"
            )


def _results(run: Path) -> list[Measured]:
    """Return a run's results, oldest first."""
    found: list[Measured] = []
    for stored in results_of(run):
        row, options = stored.result.row, stored.result.config
        try:
            key = _key(row.strategy, row.variant, options, stored_words(row, options))
        except (KeyError, TypeError, AttributeError, RecursionError):  # Its options are damaged.
            continue
        found.append(
            Measured(
                key=key,
                row=row,
                processes=_processes(options),
                made_by=[stored.identity.get(name) for name in ("code", "environment")],
                details=stored.result.details,
                time=datetime.fromtimestamp(stored.time / 1e9, tz=UTC),
            )
        )
    return found


def _processes(options: Mapping[str, Any]) -> int:
    """Return how many processes were asked for, which is 1 where old or damaged options do not say it."""
    timing = options.get("timing")
    processes = timing.get("processes") if isinstance(timing, dict) else None
    return processes if isinstance(processes, int) else 1


def stored_words(row: Row, options: Mapping[str, Any]) -> list[str]:
    """Return a result's `Point.words`, which follow from its options where it was stored before they were."""
    return words_of(options) if row.options is None else parted(row.options)


def _key(strategy: str, variant: str, options: Mapping[str, Any], point_words: Sequence[str]) -> str:
    """Make a key of options, as JSON holds them or as a composed point has them, and of `Point.words`."""
    model, data = options["model"], options["data"]
    words = [
        *filter(None, (strategy, variant)),
        *(f"{name}={_all(options[name])}" for name in ("batch", "objects", "refs", "targets")),
        f"dtype={options['dtype']}",
        f"model={model['name']}" if model["weights"] is None else f"model={model['name']}:{_last(model['weights'])}",
        f"data={data['name']}:{_last(data['root'])}" if "root" in data else f"data={data['name']}",
    ]
    defaults = DATA_DEFAULTS.get(data["name"], {})
    words += [
        f"data.{name}={value}"
        for name, value in sorted(data.items())
        if name not in ("name", "root") and value != defaults.get(name, MISSING)
    ]
    words += [f"{name}={options[name]}" for name in ("seed", "repeat") if options[name]]
    if (scenario := options.get("scenario", Row.scenario)) != Row.scenario:  # Old files have no other scenario.
        words.append(f"scenario={scenario}")
    if scenario == "stream":
        words.append(f"videos={options['videos']}")
    against = (options.get("baseline") or options["reference"])["_target_"]  # Old files call it a reference.
    if against != strategies()[default_baseline(scenario)]["_target_"]:
        words.append(f"against={against.rpartition('.')[2]}")
    words += [
        one for one in what_words(point_words) if option_of(one) not in IN_OWN_WORDS and not one.startswith("data.")
    ]
    return " ".join(words)


def _all(count: int | None) -> int | str:
    return "all" if count is None else count


def _last(path: str) -> str:
    """Return a folder's own name, because where it lies differs from machine to machine."""
    return Path(path).name
