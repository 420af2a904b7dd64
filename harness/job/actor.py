"""One of several processes that share a job: it takes chunks, runs them through a pipeline of its own, and reports.

What goes in is names of files, and what comes out is rows of the table, a batch at a time: pixels are read, and masks
are written, where they are computed. The process that hands out the chunks is the only one that writes the ledger.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

from harness.isolate.failures import Failure, failure_of
from harness.isolate.jobs import model_of
from harness.measure.making import make_strategy
from harness.options.config import HarnessConfig
from harness.pipeline.cores import Cores, computing_with
from harness.pipeline.ledger import Labelled
from harness.pipeline.meter import Meter
from harness.pipeline.pipeline import Pipeline
from harness.pipeline.plan import Chunk
from harness.workload.encode import encoder_of
from strategies.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Order:
    """What an actor has to know before its first chunk. folder: the one that relative paths start from."""

    config: HarnessConfig
    cores: Cores
    folder: Path


@dataclass(frozen=True, kw_only=True)
class Report:
    """What an actor has done since its last report; the first says that it is ready.

    rows: of targets whose masks are on disk. targets: how many they are. broken: group, target and reason of what was
    left out. busy: seconds by stage. failure: why it can't go on.
    """

    rows: Sequence[Labelled] = ()
    targets: int = 0
    broken: Sequence[tuple[str, str, str]] = ()
    busy: Mapping[str, float] = field(default_factory=dict)
    failure: Failure | None = None


class Actor:
    """A pipeline in a thread of its own, so that chunks can come and reports can go while it works."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._meter = Meter(workers=order.cores.workers)
        self._reported: dict[str, float] = {}
        self._broken: list[tuple[str, str, str]] = []
        self._chunks: SimpleQueue[Chunk] = SimpleQueue()
        self._reports: SimpleQueue[Report] = SimpleQueue()
        Thread(target=self._work, name="pipeline", daemon=True).start()

    def give(self, chunk: Chunk) -> None:
        """Add a chunk to what is to be done."""
        self._chunks.put(chunk)

    def take(self) -> Report:
        """Return the next report, and wait for it."""
        return self._reports.get()

    def _work(self) -> None:
        try:
            self._enter_folder()
            config, cores = self._order.config, self._order.cores
            model = model_of(config, known_usable=True)
            pipeline = Pipeline(
                encoder_of(model, config.encode, batch=config.batch),
                make_strategy(config.strategy, model),
                self._meter,
                decode=config.label.decode,
                cores=cores,
                on_broken=self._break_off,
                on_labelled=self._tell,
            )
            self._reports.put(Report())
            with computing_with(cores.threads):
                pipeline.run(self._coming())
        except BaseException as error:  # Whatever a strategy raises, SystemExit too, must be reported.
            self._reports.put(Report(failure=failure_of(error)))

    def _enter_folder(self) -> None:
        try:
            os.chdir(self._order.folder)
        except OSError as error:
            raise UserError(
                f"{self._order.folder} is not there on {platform.node()} ({error.strerror}): with engine=ray all "
                "machines need the same files at the same places"
            ) from error

    def _coming(self) -> Iterator[Chunk | None]:
        """Yield chunks as they come, and None before each wait for one."""
        while True:
            try:
                yield self._chunks.get_nowait()
            except Empty:
                yield None
                yield self._chunks.get()

    def _break_off(self, group: str, target: str, reason: str) -> None:
        """Keep what is left out for the next report; where that is all of a group, no other may come."""
        self._broken.append((group, target, reason))
        if not target:
            self._tell((), 0)

    def _tell(self, rows: Sequence[Labelled], targets: int) -> None:
        busy = self._meter.busy()
        since = {name: seconds - self._reported.get(name, 0.0) for name, seconds in busy.items()}
        self._reports.put(Report(rows=tuple(rows), targets=targets, broken=tuple(self._broken), busy=since))
        self._reported, self._broken = busy, []
