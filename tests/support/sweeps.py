"""Sweeps of one run's folder, by a launcher that a test gives."""

from __future__ import annotations

from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from rich.console import Console

from harness.options.points import Point
from harness.progress import Progress
from harness.result import PointResult
from harness.store.results import RunFolder
from harness.sweep import Launch, run_sweep
from tests.support.harness_runs import strict_json, summary


@dataclass(kw_only=True)
class Sweeps:
    """Each sweep opens the folder anew, as another command would."""

    path: Path

    def __call__(self, points: list[Point], launcher: Launch) -> str:
        """Run a sweep and return what it printed of its progress."""
        printed = StringIO()
        run = RunFolder(self.path)
        with Progress(len(points), Console(file=printed, soft_wrap=True)) as progress:
            run_sweep(points, run, progress, launch=launcher)
        return printed.getvalue()

    @property
    def rows(self) -> list[tuple[str, str]]:
        return [(line["point"], line["status"]) for line in summary(self.path)]

    def stored(self, point: Point) -> PointResult:
        return PointResult.from_json(strict_json(self.path / "points" / f"{point.name}.json"))

    def process_files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.path / "processes").glob("*.json")}
