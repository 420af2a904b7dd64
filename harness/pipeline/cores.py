"""How a machine's cores are shared between the network and the workers around it.

torch's threads wait for one another at every layer, so that one busy neighbour holds all of them up; on a CPU the
network and the workers therefore get no more threads together than there are cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch


@dataclass(frozen=True, kw_only=True)
class Cores:
    """threads: the network's. workers: those that read, enlarge and write, of which each computes in one thread."""

    threads: int
    workers: int


def available() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def shared(cores: int, *, network: float, around: float) -> Cores:
    """Share cores by the seconds of one thread that a target takes in the network and around it."""
    total = network + around
    threads = round(cores * network / total) if total else 1
    threads = min(max(threads, 1), cores)
    return Cores(threads=threads, workers=max(cores - threads, 1))


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Let torch compute with so many threads in the calling thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def one_thread() -> None:
    """Let torch compute in the calling thread alone; torch keeps this number for each thread that calls it."""
    torch.set_num_threads(1)
