"""What the engines of a job share: how many actors there are, and what happens to one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from harness.job.actor import Order, Report
from harness.options.config import LabelConfig
from harness.pipeline.plan import Chunk


@dataclass(frozen=True, kw_only=True)
class Lost:
    """An actor that is gone, and why; what it was given and has not reported is to be done by another."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many actors there are, and how many cores each of them has."""

    actors: int
    cores: int


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a machine has for actors. gpus: 0 where they are to compute on the CPU."""

    cores: int
    gpus: int


def shares_of(options: LabelConfig, machines: Sequence[Machine], *, here: int) -> Shares:
    """Return an actor for each GPU, or else for so many cores as are asked for, or as this machine has (``here``)."""
    used = [one for one in machines if one.gpus] or list(machines)
    total, largest = sum(one.cores for one in used), max(one.cores for one in used)
    each = min(options.cores or here, largest)
    actors = options.actors or sum(one.gpus for one in used) or sum(one.cores // each for one in used)
    fitting = min((one.cores // one.gpus for one in used if one.gpus), default=largest)
    return Shares(actors=actors, cores=options.cores or max(min(fitting, total // actors), 1))


class Engine(Protocol):
    """What runs actors. They go by numbers from 0, which say the GPU where there are several."""

    shares: Shares

    def start(self, number: int, order: Order) -> None:
        """Start an actor, or another in the place of one that was lost."""

    def give(self, number: int, chunk: Chunk) -> None:
        """Send a chunk to an actor."""

    def next(self) -> tuple[int, Report | Lost]:
        """Return what an actor reports next, and wait for it."""

    def close(self) -> None:
        """End all actors at once, if they have not been yet: what they have not reported is lost."""
