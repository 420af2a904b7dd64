"""All runs of a results folder in one file, ``history.sqlite``: what each found of each point, and when.

Runs are appended as they end; a run that is resumed replaces its own rows. Read it with `trends` and
`steps`, or with any tool that knows SQLite: there is one table, ``results``, with the columns of `Entry`.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.column import LARGEST
from harness.options.shipped import shipped
from harness.stats.interval import Interval, quotient
from harness.store.point_key import Measured, measured, planned, refuse_duplicate_keys
from harness.store.recorded import environment_of
from strategies.errors import UserError

NAME = "history.sqlite"
MARGIN: float = shipped()["check"]["margins"]["speedup"]
"""The gate's own, by which a step in a trend is one."""
VERSION = 2
"""The table's version, which stands in SQLite's ``user_version``."""
PATIENCE = 5.0
"""Seconds to wait for another run that is writing."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One point of one run.

    key: what makes it the same point in another run (see `harness.store.point_key`). time: ISO 8601 in UTC. threads:
    torch's number, on which speed-ups depend. commit: that of the code, None where it is not known. The other columns
    are those of summary.csv; None is what was not measured.
    """

    run: str
    key: str
    time: str
    device: str
    threads: int | None
    commit: str | None
    status: str
    speedup: float | None
    speedup_lo: float | None
    speedup_hi: float | None
    fps: float | None
    iou_mean: float | None
    iou_min: float | None
    jf: float | None
    peak_rss_mb: float | None
    vram_peak_mb: float | None

    @property
    def interval(self) -> Interval | None:
        """The speed-up with its interval, or None without one."""
        if self.speedup is None or self.speedup_lo is None or self.speedup_hi is None:
            return None
        return Interval(value=self.speedup, lo=self.speedup_lo, hi=self.speedup_hi)


COLUMNS = tuple(field.name for field in fields(Entry))
OF_ROW = COLUMNS[COLUMNS.index("status") :]
TABLE = ", ".join(f'"{name}"' for name in COLUMNS)
"""The columns, quoted, because ``commit`` is a word of SQL."""


def append(run: Path) -> bool:
    """Put a run's results into the history beside its folder, and return whether that worked.

    A history that fails raises nothing, because a run is worth more than its line in it. Where the file is damaged,
    locked for long or not writable, or two points of the run have the same key, a warning says so on standard error.
    """
    store = run.parent / NAME
    try:
        environment = environment_of(run)
        known = {"device": environment.device, "threads": environment.threads, "commit": environment.git_commit}
        refuse_duplicate_keys(planned(run))
        entries = [_entry(one, run.name, known) for one in measured(run).values()]
        with closing(sqlite3.connect(store, timeout=PATIENCE)) as connection, connection:
            _prepare(connection)
            connection.execute("DELETE FROM results WHERE run = ?", (run.name,))
            places = ", ".join("?" * len(COLUMNS))
            connection.executemany(f"INSERT INTO results ({TABLE}) VALUES ({places})", map(astuple, entries))
    except UserError as error:
        _warn(f"this run is not in the history, {store}: {error}")
        return False
    except (OSError, ValueError, sqlite3.Error) as error:
        _warn(f"this run is not in the history, {store} ({error}); move the file away if it is damaged")
        return False
    return True


def _warn(sentence: str) -> None:
    Console(stderr=True, soft_wrap=True, highlight=False).print(f"warning: {sentence}", markup=False)


def trends(store: Path, *, device: str, threads: int | None) -> dict[str, list[Entry]]:
    """Return what was found of each point on a device with so many threads, by key, oldest first.

    Entries have any status. There are none where the store does not exist yet; raises UserError where it can't be read.
    """
    found: dict[str, list[Entry]] = {}
    if threads is not None and threads > LARGEST:  # No run has so many, and SQLite can't be asked for them.
        return found
    with _reading(store) as connection:
        question = f"SELECT {TABLE} FROM results WHERE device = ? AND threads IS ? ORDER BY time, run"
        for row in connection.execute(question, (device, threads)):
            entry = Entry(**dict(zip(COLUMNS, row, strict=True)))
            found.setdefault(entry.key, []).append(entry)
    return found


def steps(entries: Sequence[Entry], *, margin: float = MARGIN) -> dict[int, Interval]:
    """Return the places in a trend at which the speed-up stepped by more than ``margin``, each with its ratio.

    Each entry is compared with all since the last step: it is a step where the whole interval of one of the ratios, new
    to old, lies beyond 1 + margin or 1 / (1 + margin), the gate's own rule, and its ratio is the most extreme of those.
    So neither a run that is too noisy nor a slow drift hides a step, and a single odd run shows as two, there and back.
    Entries without an interval are passed over.
    """
    found: dict[int, Interval] = {}
    since: list[Interval] = []
    for place, entry in enumerate(entries):
        interval = entry.interval
        if interval is None:
            continue
        ratios = [quotient(interval, earlier) for earlier in since]
        beyond = [ratio for ratio in ratios if ratio.hi < 1 / (1 + margin) or ratio.lo > 1 + margin]
        if beyond:
            found[place] = max(beyond, key=lambda ratio: abs(math.log(ratio.value)))
            since = []
        since.append(interval)
    return found


def _entry(one: Measured, run: str, known: dict[str, Any]) -> Entry:
    columns: dict[str, Any] = {name: getattr(one.row, name) for name in OF_ROW}
    time = one.time.isoformat(timespec="milliseconds")
    return Entry(run=run, key=one.key, time=time, **known, **columns)


def _prepare(connection: sqlite3.Connection) -> None:
    """Make the table in a new file. Raises sqlite3.DatabaseError where the file is of another version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version == 0:
        connection.execute(f"CREATE TABLE IF NOT EXISTS results ({TABLE}, PRIMARY KEY (run, key))")
        connection.execute(f"PRAGMA user_version = {VERSION}")
    else:
        _check_version(version)


def _check_version(version: int) -> None:
    if version != VERSION:
        raise sqlite3.DatabaseError(f"it has version {version}, and this sambatch knows version {VERSION}")


@contextmanager
def _reading(store: Path) -> Iterator[sqlite3.Connection]:
    """Open the store, or an empty one in memory where none exists."""
    try:
        name = f"{store.resolve().as_uri()}?mode=ro" if store.exists() else "file::memory:"
        with closing(sqlite3.connect(name, uri=True, timeout=PATIENCE)) as connection:
            if store.exists():
                _check_version(connection.execute("PRAGMA user_version").fetchone()[0])
            else:
                _prepare(connection)
            yield connection
    except (OSError, sqlite3.Error) as error:
        raise UserError(f"{store} can't be read ({error}); move it away if it is damaged") from error
