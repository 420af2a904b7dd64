"""What a job says on the terminal while it runs."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console

from harness.bar import bar_on
from harness.guard import shortened
from harness.pipeline.meter import Meter

SILENCE = 60.0
"""Seconds between two lines where there is no terminal to draw a bar on."""
LISTED = 20
"""Broken targets that are told one by one; all are in broken.csv."""


class JobBar:
    """A bar with targets/s, the time left and the bottleneck; lines of their own for what is broken."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, soft_wrap=True, highlight=False)
        self._total = 0
        self._done = self._kept = 0
        self._began = self._said = time.monotonic()
        self._meter: Meter | None = None
        self._bar = bar_on(self.console)
        self._task = self._bar.add_task("loading the model", total=None)
        self.broken: list[tuple[str, str, str]] = []
        """Group, target and reason of what was left out; the target is empty where all of a group is."""

    def say(self, line: str) -> None:
        """Tell something that the user waits for, or may want to know."""
        self.console.print(shortened(line), markup=False)

    def begin(self, meter: Meter, *, total: int, kept: int) -> None:
        """Start the clock. kept: targets whose masks are there already."""
        self._meter, self._total = meter, total
        self._kept = self._done = kept
        self._began = self._said = time.monotonic()
        self._bar.reset(self._task, total=self._total, completed=kept)
        if kept:
            self.console.print(f"{kept} of {self._total} masks are there already", markup=False)

    @property
    def labelled(self) -> int:
        """The number of targets that this run labelled."""
        return self._done - self._kept

    def advance(self, targets: int) -> None:
        self._done += targets
        now = time.monotonic()
        rate = self.labelled / max(now - self._began, 1e-9)
        words = f"{rate:.1f} targets/s, {self._meter.now() if self._meter else ''} is the bottleneck"
        self._bar.update(self._task, advance=targets, description=words)
        if not self.console.is_terminal and now - self._said > SILENCE:
            self._said = now
            left = (self._total - self._done) / rate / 60 if rate else 0.0
            self.console.print(f"{self._done} of {self._total}, {words}, {left:.1f} minutes left", markup=False)

    def break_off(self, group: str, target: str, reason: str) -> None:
        """Tell what is left out, the first few of them one by one."""
        self.broken.append((group, target, reason))
        if len(self.broken) <= LISTED:
            place = f"{group}/{target}" if target else f"all of group {group}"
            self.console.print(f"left out: {shortened(f'{place}: {reason}')}", markup=False)
        elif len(self.broken) == LISTED + 1:
            self.console.print("left out: more, see broken.csv in the end", markup=False)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
