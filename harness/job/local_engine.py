"""``engine=local``: actors are processes of this machine, one for each GPU or for a share of the cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from threading import Thread
from typing import cast

import torch

from harness.isolate.failures import count_oom_kills, failure_of_exit
from harness.job.actor import Actor, Order, Report
from harness.job.engine import Lost, Machine, shares_of
from harness.options.config import LabelConfig
from harness.pipeline.cores import available
from harness.pipeline.plan import Chunk

VISIBLE = "CUDA_VISIBLE_DEVICES"
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True, kw_only=True)
class _Running:
    process: SpawnProcess
    pipe: Connection


class LocalEngine:
    """Spawned processes, each with a pipe; one that is killed shows by its pipe, as the parent's end shows to it."""

    def __init__(self, options: LabelConfig, device: torch.device) -> None:
        self._gpus = visible_gpus(device, os.environ)
        here = available()
        self.shares = shares_of(options, [Machine(cores=here, gpus=len(self._gpus))], here=here)
        self._running: dict[int, _Running] = {}
        self._ready: deque[Connection] = deque()
        self._oom_kills = count_oom_kills()

    def start(self, number: int, order: Order) -> None:
        gpu = self._gpus[number % len(self._gpus)] if self._gpus else None
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=serve, args=(theirs, order, gpu), name=f"actor {number}")
        with _without_interrupts():
            process.start()
        theirs.close()
        self._running[number] = _Running(process=process, pipe=ours)

    def give(self, number: int, chunk: Chunk) -> None:
        with suppress(OSError):  # That the actor is gone is what `next` tells.
            self._running[number].pipe.send(chunk)

    def next(self) -> tuple[int, Report | Lost]:
        numbers = {one.pipe: number for number, one in self._running.items()}
        if not self._ready:  # All that are ready get their turn before the first of them gets another.
            self._ready.extend(cast(list[Connection], wait(list(numbers))))
        pipe = self._ready.popleft()
        number = numbers[pipe]
        try:
            return number, pipe.recv()
        except (EOFError, OSError):  # It may have died in the middle of a report.
            process = self._running.pop(number).process
            _end(process, pipe)
            kills = count_oom_kills() - self._oom_kills
            failure = failure_of_exit(process.exitcode or 0, output="", doing="labelling", oom_kills=kills)
            return number, Lost(reason=failure.reason)

    def close(self) -> None:
        for one in self._running.values():
            _end(one.process, one.pipe)
        self._running.clear()


def visible_gpus(device: torch.device, environment: Mapping[str, str]) -> list[str]:
    """Return the names by which CUDA lets a process see no GPU but one, for each GPU that a device stands for."""
    if device.type != "cuda":
        return []
    given = environment.get(VISIBLE)
    names = given.split(",") if given else [str(index) for index in range(torch.cuda.device_count())]
    return names if device.index is None else [names[device.index]]


def serve(pipe: Connection, order: Order, gpu: str | None) -> None:
    """Be an actor, for as long as the parent is there. gpu: the only GPU that CUDA is to find."""
    if gpu is not None:
        os.environ[VISIBLE] = gpu  # CUDA reads it when it is first used, which is not yet.
    actor = Actor(order)
    Thread(target=_receive, args=(pipe, actor), daemon=True).start()
    with suppress(OSError):
        while True:
            pipe.send(actor.take())


def _receive(pipe: Connection, actor: Actor) -> None:
    with suppress(EOFError, OSError):
        while True:
            actor.give(pipe.recv())
    os._exit(0)  # The parent has ended, in whatever way, and nobody waits for what is being done.


def _end(process: SpawnProcess, pipe: Connection) -> None:
    process.kill()
    process.join()
    pipe.close()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start no process meanwhile that Ctrl-C reaches: the terminal sends it to all, and the parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
