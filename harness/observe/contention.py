"""Contention: how far others kept the processors busy while something was timed.

Linux's counters are read before and after each stretch that is timed, so that watching takes no time within it. What
decides whether a measurement was *disturbed* is the share of all processors' time that others took: other processes on
this machine, and other machines on its host (steal). CPU pressure, involuntary switches and the run queue are recorded
as evidence only, because a strategy that has more threads than the machine has processors presses on itself.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from harness.schema import fitted

OTHERS = 0.1
"""The share of all processors' time from which on others disturb."""
LEAST_SECONDS = 0.5
"""Shorter watching tells no share: /proc/stat counts in hundredths of a second, for each processor."""
BUSY = ("user", "nice", "system", "irq", "softirq")
TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""The first columns of /proc/stat, see proc(5)."""


@dataclass(frozen=True, kw_only=True)
class Counters:
    """The counters of this machine and this process at one moment; one is None where it can't be read.

    processors_s: the seconds of all processors together, idle or not. busy_s: those in which they worked for this
    machine, for whichever process. steal_s: those in which the host gave them to other machines. own_s: the processor
    time of this process, all threads, and of its children that have ended. involuntary_switches: how often a thread of
    this process had to give way. pressure_s, group_pressure_s: in so many seconds some task had to wait for a
    processor, on the machine and in this process's control group.
    """

    seconds: float
    own_s: float
    processors_s: float | None = None
    busy_s: float | None = None
    steal_s: float | None = None
    involuntary_switches: int | None = None
    pressure_s: float | None = None
    group_pressure_s: float | None = None


NAMES = tuple(one.name for one in fields(Counters))


@dataclass(frozen=True, kw_only=True)
class Contention:
    """The increase of all counters over what was watched, and the longest run queue that was seen at its edges.

    run_queue: tasks that run or wait to, on average over a minute (the first number of /proc/loadavg).
    """

    counters: Counters
    run_queue: float | None = None

    @property
    def others(self) -> float | None:
        """The share of all processors' time that others took; None where it is not known, or watching was too short."""
        found = self.counters
        if (
            found.processors_s is None
            or found.busy_s is None
            or found.seconds < LEAST_SECONDS
            or not found.processors_s
        ):
            return None
        taken = found.busy_s - found.own_s + (found.steal_s or 0.0)
        return min(1.0, max(0.0, taken / found.processors_s))

    @property
    def disturbed(self) -> bool | None:
        """Whether others took a tenth of all processors' time or more; None where that is not known."""
        return None if self.others is None else self.others >= OTHERS

    def as_json(self) -> dict[str, Any]:
        """Return all numbers, with those that follow from them, as a point's details hold them."""
        derived = {"run_queue": self.run_queue, "others": self.others, "disturbed": self.disturbed}
        return {**vars(self.counters), **derived}

    @staticmethod
    def from_json(content: object) -> Contention:
        """Read what `as_json` gave. Raises ValueError for anything else."""
        return Contention(counters=fitted(Counters, content), run_queue=fitted(_Queue, content).run_queue)

    @staticmethod
    def together(parts: Sequence[Contention]) -> Contention | None:
        """Return the contention of several stretches, or None where there is none; what one lacks, all lack."""
        if not parts:
            return None
        queues = [part.run_queue for part in parts if part.run_queue is not None]
        return Contention(
            counters=_combined([part.counters for part in parts], sum),
            run_queue=max(queues, default=None),
        )


@dataclass(frozen=True, kw_only=True)
class _Queue:
    run_queue: float | None = None


class ContentionMeter:
    """Watches stretches of work, and sums up over them."""

    def __init__(self, read: Callable[[], Counters] | None = None, *, proc: Path = Path("/proc")) -> None:
        """read: the counters of a moment, by default those of this process under ``proc``."""
        self._read = read or (lambda: read_counters(proc))
        self._proc = proc
        self._parts: list[Contention] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Add what happens within the block, also where the block raises."""
        before, queue = self._read(), _run_queue(self._proc)
        try:
            yield
        finally:
            after = self._read()
            queues = [one for one in (queue, _run_queue(self._proc)) if one is not None]
            increase = _combined([before, after], lambda values: values[1] - values[0])
            self._parts.append(Contention(counters=increase, run_queue=max(queues, default=None)))

    def result(self) -> Contention | None:
        """Return the contention of all stretches so far; None where there was none."""
        return Contention.together(self._parts)


def read_counters(proc: Path = Path("/proc")) -> Counters:
    """Read the counters of this process and its machine.

    proc: where Linux shows them, see proc(5); without it only this process's own are known.
    """
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    machine = _machine_seconds(proc / "stat")
    return Counters(
        seconds=time.monotonic(),
        own_s=own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime,
        processors_s=None if machine is None else sum(machine.values()),
        busy_s=None if machine is None else sum(machine[name] for name in BUSY),
        steal_s=None if machine is None else machine["steal"],
        involuntary_switches=own.ru_nivcsw,
        pressure_s=_pressure_seconds(proc / "pressure" / "cpu"),
        group_pressure_s=_pressure_seconds(_group_folder(proc) / "cpu.pressure"),
    )


def _machine_seconds(path: Path) -> dict[str, float] | None:
    """Return the processors' seconds by what they did; guests' are in the user's already."""
    words = _first_line(path).split()
    if len(words) < 1 + len(TIMES) or words[0] != "cpu":
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    return {name: int(word) / ticks for name, word in zip(TIMES, words[1:], strict=False)}


def _pressure_seconds(path: Path) -> float | None:
    """Return the total of a pressure file's first line, ``some avg10=0.00 ... total=MICROSECONDS``."""
    line = _first_line(path)
    _, equals, total = line.rpartition("total=")
    return int(total) / 1e6 if equals and line.startswith("some ") else None


def _run_queue(proc: Path) -> float | None:
    words = _first_line(proc / "loadavg").split()
    return float(words[0]) if words else None


def _group_folder(proc: Path) -> Path:
    """Return this process's control group of version 2, where it has one: the line ``0::/PATH`` names it."""
    try:
        lines = (proc / "self" / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    path = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), "/")
    return Path("/sys/fs/cgroup") / path.lstrip("/")


def _first_line(path: Path) -> str:
    """Return a file's first line, which is empty where the kernel has no such file, or does not let us read it."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline()
    except OSError:
        return ""


def _combined(all_counters: Sequence[Counters], combine: Callable[[Sequence[Any]], Any]) -> Counters:
    """Combine each counter's values; it is None where any of them is."""
    values: dict[str, list[Any]] = {name: [getattr(one, name) for one in all_counters] for name in NAMES}
    combined: dict[str, Any] = {name: None if None in found else combine(found) for name, found in values.items()}
    return Counters(**combined)
