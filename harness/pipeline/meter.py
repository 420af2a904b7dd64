"""How busy each stage of a job is, and which of them the others wait for."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

NETWORK = ("encode", "predict")
"""Stages of the one thread that drives the network."""
AROUND = ("read", "enlarge", "write")
"""Stages that the workers share."""
STAGES = ("read", *NETWORK, "enlarge", "write")
"""All of them, in the order of the work."""
WINDOW = 5.0
"""Seconds that the bottleneck now is told of."""


class Meter:
    """Busy seconds by stage, from any thread. workers: threads that share the stages around the network."""

    def __init__(self, *, workers: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._workers = workers
        self._clock = clock
        self._lock = threading.Lock()
        self._busy: dict[str, float] = defaultdict(float)
        self._before: dict[str, float] = {}
        self._since = clock()
        self._now = ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._busy[name] += self._clock() - began

    def add(self, busy: Mapping[str, float]) -> None:
        """Add what another process measured."""
        with self._lock:
            for name, seconds in busy.items():
                self._busy[name] += seconds

    def busy(self) -> dict[str, float]:
        """Return each stage's seconds so far, in the order of the work; stages of several workers add up."""
        with self._lock:
            return {name: self._busy[name] for name in STAGES}

    def now(self) -> str:
        """Return the stage that has been the bottleneck of late; empty before the first is over."""
        if self._clock() - self._since >= WINDOW or not self._now:
            busy = self.busy()
            since = {name: seconds - self._before.get(name, 0.0) for name, seconds in busy.items()}
            self._now = bottleneck(since, workers=self._workers) or self._now
            self._before, self._since = busy, self._clock()
        return self._now


def bottleneck(busy: dict[str, float], *, workers: float) -> str:
    """Return the stage with most work on the side, network or workers, that is the busier; empty where none is."""
    network = sum(busy.get(name, 0.0) for name in NETWORK)
    around = sum(busy.get(name, 0.0) for name in AROUND) / workers
    if not network and not around:
        return ""
    return max(NETWORK if network >= around else AROUND, key=lambda name: busy.get(name, 0.0))
