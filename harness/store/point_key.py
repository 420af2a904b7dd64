"""Which measured point is the same as which, across runs, machines and versions of the code.

A point's name holds a hash of all its options, timing included, and of no use here: a key holds, in words, only what a
person would call a different point.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.options.data import DavisConfig, SyntheticConfig
from harness.result import PointResult
from harness.row import Row

if TYPE_CHECKING:  # the options' module brings Hydra and torch, which who only reads keys does not need
    from harness.options.points import Point

DATA_DEFAULTS = {
    option.name: option.default for kind in (SyntheticConfig, DavisConfig) for option in fields(kind)
}  # their options' names differ
"""Left out of keys, so that a new option of the data with a default leaves old keys as they are."""
SEQUENTIAL = "strategies.sequential.Sequential"


def key_of(point: Point) -> str:
    """Of a point that may not be measured yet."""
    return _key(point.strategy, point.variant, point.options)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point's last result in a run's folder. time: when it was stored."""

    key: str
    row: Row
    time: datetime


def measured(run: Path) -> dict[str, Measured]:
    """All points of a run that have a result, by key. Where several have the same key, as those that were measured
    again with other timing, the last one counts; files that are damaged are as good as none."""
    found: dict[str, Measured] = {}
    for path in sorted((run / "points").glob("*.json"), key=lambda file: file.stat().st_mtime_ns):
        try:
            result = PointResult.from_json(json.loads(path.read_text(encoding="utf-8")))
            key = _key(result.row.strategy, result.row.variant, result.config)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
        found[key] = Measured(key=key, row=result.row, time=datetime.fromtimestamp(path.stat().st_mtime, tz=UTC))
    return found


def _key(strategy: str, variant: str, options: Mapping[str, Any]) -> str:
    """From options as JSON holds them, or as a composed point has them."""
    model, data = options["model"], options["data"]
    words = [
        *filter(None, (strategy, variant)),
        *(f"{name}={_all(options[name])}" for name in ("batch", "objects", "refs", "targets")),
        f"dtype={options['dtype']}",
        f"model={model['name']}" if model["weights"] is None else f"model={model['name']}:{_last(model['weights'])}",
        f"data={data['name']}:{_last(data['root'])}" if "root" in data else f"data={data['name']}",
    ]
    words += [
        f"data.{name}={value}"
        for name, value in sorted(data.items())
        if name not in ("name", "root") and value != DATA_DEFAULTS.get(name, MISSING)
    ]
    words += [f"{name}={options[name]}" for name in ("seed", "repeat") if options[name]]
    against = (options.get("baseline") or options["reference"])["_target_"]  # as it was called before
    if against != SEQUENTIAL:
        words.append(f"against={against.rpartition('.')[2]}")
    return " ".join(words)


def _all(count: int | None) -> int | str:
    return "all" if count is None else count


def _last(path: str) -> str:
    """A folder's own name: where it lies differs from machine to machine."""
    return Path(path).name
