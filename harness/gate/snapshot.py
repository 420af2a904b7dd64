"""A snapshot keeps what the gate compares of a run: points' status, speed-up, agreement, scores and memory, by key.

Its file, ``<results>/baselines/<device>.json``, is meant to be committed and to be read in a diff.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Set
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from harness.row import CATALOGUE, GATED, SPEEDUP, STATUSES, Row
from harness.stats.interval import Interval
from harness.store.atomic import write_whole
from harness.store.point_key import measured, planned, refuse_duplicate_keys
from strategies.errors import UserError

VERSION = 1
NUMBERS = tuple(name for name in GATED if name not in SPEEDUP)
"""Columns without an interval."""
ENVIRONMENT = ("device", "python", "packages", "threads", "git_commit", "git_changed")
"""Entries of environment.json that are kept."""
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
        """Take what is kept of a row, without a speed-up that has no interval."""
        speedup = None
        if row.speedup is not None and row.speedup_lo is not None and row.speedup_hi is not None:
            value, lo, hi = map(_short, (row.speedup, row.speedup_lo, row.speedup_hi))
            speedup = Interval(value=value, lo=lo, hi=hi)
        return Record(
            status=row.status,
            reason=row.reason,
            baseline=row.reference,
            speedup=speedup,
            numbers={name: _short(getattr(row, name)) for name in NUMBERS if getattr(row, name) is not None},
            command=row.command,
        )

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
    environment: dict[str, Any]
    points: dict[str, Record]

    @property
    def device(self) -> str:
        return str(self.environment["device"])

    @staticmethod
    def of_run(run: Path, keys: Set[str] | None = None) -> Snapshot:
        """Take a snapshot of a run. keys: the points to take, or None for all.

        Raises UserError where the folder is not that of a run, or two points of the run have the same key.
        """
        try:
            environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
            kept = {name: environment[name] for name in ENVIRONMENT}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(f"{run} is not the folder of a run; give one as results/<time>-<name>") from error
        refuse_duplicate_keys(planned(run))
        return Snapshot(
            made=datetime.now().astimezone().isoformat(timespec="seconds"),
            run=run.resolve().name,
            environment=kept,
            points={key: Record.of(one.row) for key, one in measured(run).items() if keys is None or key in keys},
        )

    def to_json(self) -> str:
        content = {
            "version": VERSION,
            "made": self.made,
            "run": self.run,
            "environment": self.environment,
            "points": {key: _record_to_json(record) for key, record in sorted(self.points.items())},
        }
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(content: dict[str, Any]) -> Snapshot:
        """Read what `to_json` gave. Raises ValueError where that is no snapshot."""
        try:
            if content["version"] != VERSION:
                raise ValueError(f"it has version {content['version']}, and this sambatch reads version {VERSION}")
            snapshot = Snapshot(
                made=content["made"],
                run=content["run"],
                environment={name: content["environment"][name] for name in ENVIRONMENT},
                points={key: _record_from_json(record) for key, record in content["points"].items()},
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        return snapshot


def store(snapshot: Snapshot, path: Path) -> None:
    """Write a snapshot without points that were skipped. Raises UserError where the file can't be written."""
    points = {key: record for key, record in snapshot.points.items() if record.status != "skipped"}
    kept = Snapshot(made=snapshot.made, run=snapshot.run, environment=snapshot.environment, points=points)
    write_whole(path, kept.to_json())


def load(path: Path) -> Snapshot:
    """Read a snapshot's file, or the folder of a run. Raises UserError where the path is neither."""
    if path.is_dir():
        return Snapshot.of_run(path)
    try:
        return Snapshot.from_json(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"snapshot {path} can't be read ({error.strerror}); --update writes one") from error
    except ValueError as error:
        raise UserError(f"{path} is no snapshot ({error}); write it anew with --update") from error


def file_of(device: str, folder: Path) -> Path:
    """Return where a device's snapshot is kept."""
    return folder / f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}.json"


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


def _record_from_json(content: dict[str, Any]) -> Record:
    if content["status"] not in STATUSES:
        raise ValueError(f"{content['status']} is not a status")
    stored = content.get("speedup")
    speedup = None if stored is None else Interval(value=stored["value"], lo=stored["lo"], hi=stored["hi"])
    numbers = {name: float(content[name]) for name in NUMBERS if name in content}
    positive = [number for name, number in numbers.items() if CATALOGUE[name].gate == "memory"] + [
        1.0 if speedup is None else speedup.lo
    ]
    if min(positive) <= 0 or not all(map(math.isfinite, numbers.values())):
        raise ValueError(f"its numbers can't be: {content}")
    return Record(
        status=content["status"],
        reason=None,
        baseline=None if stored is None else stored["over"],
        speedup=speedup,
        numbers=numbers,
        command=content["command"],
    )


def _short(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")
