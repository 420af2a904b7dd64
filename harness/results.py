"""A run's folder: what was asked, each point's result as it ends, and the summary of all.

Every file is written beside its place and moved there, so that a reader never sees half a file.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

from harness.timing import Sample

COLUMNS = (
    *("point", "strategy", "bank", "model", "data", "device", "dtype", "batch", "objects", "refs", "targets"),
    *("status", "reason", "fps", "objects_per_s", "encode_fps", "bank_s"),
    *("iou_mean", "iou_p1", "iou_min", "max_abs_dlogit", "gate_flips", "pick_flips", "j", "f", "jf"),
    *("peak_rss_mb", "vram_peak_mb", "gpu_util_mean", "command"),
)
"""Of summary.csv, in order; README says what each means."""

STATUSES = ("ok", "oom", "timeout", "crash", "wrong", "skipped")


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """How one grid point ended.

    row: values of `COLUMNS`; what was not measured is missing. config: the point's resolved options. samples: every
    timed call, in order. details: per-object agreement and scores, and the seconds of each group's bank.
    """

    row: dict[str, Any]
    config: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = set(self.row) - set(COLUMNS)
        if unknown or self.row["status"] not in STATUSES:
            raise ValueError(f"not a result row: {self.row}")


class RunFolder:
    """Writes one run; making it makes the folder and points ``latest`` beside it at it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "points").mkdir(parents=True, exist_ok=True)
        self._rows: dict[str, dict[str, Any]] = {}
        _point_latest(path)

    def write_json(self, name: str, content: object) -> None:
        _write(self.path / name, json.dumps(_finite(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    def add(self, result: PointResult) -> None:
        """Store a point's result, then the summary that includes it."""
        name = result.row["point"]
        self.write_json(f"points/{name}.json", asdict(result))
        self._rows[name] = result.row
        _write(self.path / "summary.csv", _csv(self._rows.values()))

    @property
    def rows(self) -> list[dict[str, Any]]:
        return list(self._rows.values())


def _finite(content: object) -> object:
    """The same with null for numbers that JSON can't hold: infinities and NaN, as masks that overflowed give."""
    match content:
        case float():
            return content if math.isfinite(content) else None
        case dict():
            return {key: _finite(value) for key, value in content.items()}
        case list() | tuple():
            return [_finite(value) for value in content]
    return content


def _csv(rows: Iterable[dict[str, Any]]) -> str:
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: "" if value is None else value for key, value in row.items()})
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def _point_latest(path: Path) -> None:
    """Best effort: a file system without links, or a folder of that name, leaves no link."""
    partial = path.parent / f".latest-{path.name}"
    with suppress(OSError):
        partial.symlink_to(path.name)
        try:
            partial.replace(path.parent / "latest")
        except OSError:
            partial.unlink()
