"""A snapshot keeps what the gate compares of a run: points' status, speed-up, agreement, scores and memory, by key.

Its file, ``<results>/baselines/<device>.json``, is meant to be committed and to be read in a diff.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence, Set
from dataclasses import asdict, dataclass, field, make_dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.gate.attempts import last, narrowest
from harness.options.words import as_file_name
from harness.row import CATALOGUE, GATED, SPEEDUP, Row, Status
from harness.schema import Portion, Positive, StrictInt, StrictStr, fitted, read_json
from harness.stats.interval import Interval
from harness.store.atomic import write_whole
from harness.store.point_key import Measured, attempts, planned, refuse_duplicate_keys
from harness.store.recorded import Environment, environment_of
from strategies.errors import UserError

VERSION = 1
NUMBERS = tuple(name for name in GATED if name not in SPEEDUP)
"""Columns without an interval."""
LIMITS: dict[Any, Any] = {"difference": Portion, "memory": Positive}
"""What numbers can be, by how the gate compares them."""
DIGITS = 6
"""Significant digits that are kept, because more would only make diffs long."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """The stored end of one point.

    reason: why it ended so; it is not kept in files, because it may name files of the machine. baseline: the strategy
    that ``speedup`` is over. numbers: those of `NUMBERS` that were measured.
    """

    status: str
    reason: str | None
    baseline: str | None
    speedup: Interval | None
    numbers: dict[str, float]
    command: str

    @staticmethod
    def of(row: Row) -> Record:
        """Take what is kept of a row, without a speed-up that has no interval.

        Raises ValueError where its numbers can't be.
        """
        speedup = None
        if row.speedup is not None and row.speedup_lo is not None and row.speedup_hi is not None:
            value, lo, hi = map(_short, (row.speedup, row.speedup_lo, row.speedup_hi))
            speedup = Interval(value=value, lo=lo, hi=hi)
        record = Record(
            status=row.status,
            reason=row.reason,
            baseline=row.reference,
            speedup=speedup,
            numbers={name: _short(getattr(row, name)) for name in NUMBERS if getattr(row, name) is not None},
            command=row.command,
        )
        fitted(_StoredRecord, _record_to_json(record))
        return record

    def interval(self, quantity: str) -> Interval | None:
        """Return the interval of ``speedup`` or of one of `NUMBERS`, or None where it was not measured."""
        if quantity == "speedup":
            return self.speedup
        return Interval.exact(self.numbers[quantity]) if quantity in self.numbers else None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What is kept of a run. points: their records by key (see `harness.store.point_key`)."""

    made: str
    run: str
    environment: Environment
    points: dict[str, Record]

    @property
    def device(self) -> str:
        return self.environment.device

    @staticmethod
    def of_run(
        run: Path, keys: Set[str] | None = None, *, choose: Callable[[Sequence[Measured]], Measured] = last
    ) -> Snapshot:
        """Take a snapshot of a run. keys: the points to take, or None for all. choose: see `harness.gate.attempts`.

        Raises UserError where the folder is not that of a run, where two points of the run have the same key, and where
        a point's numbers can't be.
        """
        environment = environment_of(run)
        refuse_duplicate_keys(planned(run))
        points: dict[str, Record] = {}
        for key, results in attempts(run).items():
            if keys is None or key in keys:
                one = choose(results)
                try:
                    points[key] = Record.of(one.row)
                except ValueError as error:
                    raise UserError(
                        f"{run / 'points' / one.row.point}.json holds what can't be ({error}); remove it, and measure "
                        "its point again with resume="
                    ) from error
        return Snapshot(
            made=datetime.now().astimezone().isoformat(timespec="seconds"),
            run=run.resolve().name,
            environment=environment,
            points=points,
        )

    def to_json(self) -> str:
        content = {
            "version": VERSION,
            "made": self.made,
            "run": self.run,
            "environment": asdict(self.environment),
            "points": {key: _record_to_json(record) for key, record in sorted(self.points.items())},
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(content: object) -> Snapshot:
        """Read what `to_json` gave. Raises ValueError where that is no snapshot."""
        stored = fitted(_StoredSnapshot, content)
        return Snapshot(
            made=stored.made,
            run=stored.run,
            environment=stored.environment,
            points={key: _record_from_json(record) for key, record in stored.points.items()},
        )


@dataclass(frozen=True, kw_only=True)
class _StoredSpeedUp:
    value: Positive
    lo: Positive
    hi: Positive
    over: StrictStr | None

    def __post_init__(self) -> None:
        Interval(value=self.value, lo=self.lo, hi=self.hi)  # It refuses ends in another order.


_StoredRecord: Any = make_dataclass(
    "_StoredRecord",
    [
        ("status", Status),
        ("command", StrictStr),
        ("speedup", _StoredSpeedUp | None, field(default=None)),
        *((name, LIMITS[CATALOGUE[name].gate] | None, field(default=None)) for name in NUMBERS),
    ],
    kw_only=True,
    namespace={"__module__": __name__},
)
"""A point as files have it: its numbers are beside its status."""


@dataclass(frozen=True, kw_only=True)
class _StoredSnapshot:
    version: StrictInt
    made: StrictStr
    run: StrictStr
    environment: Environment
    points: dict[StrictStr, _StoredRecord]

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise ValueError(f"it has version {self.version}, and this sambatch reads version {VERSION}")


def store(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot without points that were skipped. Raises UserError where the file can't be written."""
    points = {key: record for key, record in snapshot.points.items() if record.status != "skipped"}
    kept = Snapshot(made=snapshot.made, run=snapshot.run, environment=snapshot.environment, points=points)
    write_whole(path, kept.to_json())


def load(path: Path) -> Snapshot:
    """Read a snapshot's file, or take one of a run's folder. Raises UserError where the path is neither."""
    if path.is_dir():
        return Snapshot.of_run(path, choose=narrowest)
    try:
        return Snapshot.from_json(read_json(path))
    except OSError as error:
        raise UserError(f"snapshot {path} can't be read ({error.strerror}); --update writes one") from error
    except ValueError as error:
        raise UserError(f"{path} is no snapshot ({error}); write it anew with --update") from error


def file_of(device: str, folder: Path) -> Path:
    """Return where a device's snapshot is kept."""
    return folder / f"{as_file_name(device)}.json"


def find(device: str, folder: Path) -> Path:
    """Return the device's snapshot, or the only one that exists. Raises UserError where neither can be found."""
    own = file_of(device, folder)
    if own.exists():
        return own
    others = sorted(folder.glob("*.json"))
    if len(others) == 1:
        return others[0]
    if not others:
        raise UserError(f"{folder} holds no snapshot: write one with --update, or name one with check.snapshot=FILE")
    raise UserError(
        f"{folder} holds no snapshot of {device}: write one with --update, or choose with check.snapshot= from "
        + ", ".join(map(str, others))
    )


def _record_to_json(record: Record) -> dict[str, Any]:
    content: dict[str, Any] = {"status": record.status}
    if record.speedup is not None:
        interval = record.speedup
        content["speedup"] = {"value": interval.value, "lo": interval.lo, "hi": interval.hi, "over": record.baseline}
    return content | record.numbers | {"command": record.command}


def _record_from_json(stored: Any) -> Record:
    speedup = stored.speedup
    return Record(
        status=stored.status,
        reason=None,
        baseline=None if speedup is None else speedup.over,
        speedup=None if speedup is None else Interval(value=speedup.value, lo=speedup.lo, hi=speedup.hi),
        numbers={name: float(getattr(stored, name)) for name in NUMBERS if getattr(stored, name) is not None},
        command=stored.command,
    )


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
