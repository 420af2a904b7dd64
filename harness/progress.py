"""The progress of a sweep: a line for each point that ended, and a bar."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console

from harness.bar import bar_on
from harness.guard import shortened
from harness.isolate.tracebacks import last_frames
from harness.row import Row
from harness.table import shown

DIGEST = re.compile("-[0-9a-f]{8}$")
"""The end of a point's name, which tells nobody anything while the point runs."""


class Progress:
    """A line per finished point, and on a terminal a bar below them."""

    def __init__(self, total: int, console: Console | None = None, *, warned: set[str] | None = None) -> None:
        """warned: the warnings that the command has given already, to which further ones are added."""
        self._warned = set() if warned is None else warned
        self._console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._total = total
        self._done = 0
        self._began = 0.0
        self._running = ""
        self._bar = bar_on(self._console)
        self._task = self._bar.add_task("sweep", total=total)

    def keep(self, points: int) -> None:
        """Count points that have their results from before the run was resumed."""
        if points:
            self._done = points
            self._bar.advance(self._task, points)
            self._console.print(f"{points} of {self._total} points have their results already", markup=False)

    def begin(self, name: str) -> None:
        self._began = time.monotonic()
        self._running = DIGEST.sub("", name)
        self._bar.update(self._task, description=self._running)

    def stage(self, name: str) -> None:
        """Show what the running point is doing."""
        self._bar.update(self._task, description=f"{self._running}: {name}")

    def warn(self, warnings: Iterable[str]) -> None:
        """Print warnings, each once in a command."""
        for warning in warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                self._console.print(f"warning: {warning}", markup=False)

    def part(self, row: Row, *, number: int, of: int) -> None:
        """Print a line of a point of which not all processes have ended; ``row`` has what they found so far."""
        seconds = time.monotonic() - self._began
        self._console.print(
            f"{row.point}: process {number + 1} of {of}, {_outcome(row)} so far ({seconds:.1f} s)", markup=False
        )

    def end(self, row: Row, *, traceback: str = "") -> None:
        """Print a point's line, and below it the last frames of its traceback where it failed."""
        self._done += 1
        self._bar.advance(self._task)
        seconds = time.monotonic() - self._began
        self._console.print(
            f"[{self._done}/{self._total}] {row.point}: {row.status}, {_outcome(row)} ({seconds:.1f} s)",
            markup=False,
        )
        for line in last_frames(traceback, root=Path.cwd()):
            self._console.print(line, markup=False, emoji=False)

    def extra(self, name: str, reason: str | None) -> None:
        """Print a line of what was measured besides the points. reason: why it was not, or None."""
        seconds = time.monotonic() - self._began
        outcome = "measured" if reason is None else shortened(reason)
        self._console.print(f"{name}: {outcome} ({seconds:.1f} s)", markup=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def _outcome(row: Row) -> str:
    if row.fps is None or row.status != "ok":
        return shortened(str(row.reason))
    speed = f"{shown(row, 'fps')} frames/s"
    if row.speedup is None:
        return speed
    return f"{speed}, {shown(row, 'speedup', unit='x')} {row.reference} ({row.verdict})"
