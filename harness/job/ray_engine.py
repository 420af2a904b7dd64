"""``engine=ray``: actors are Ray's, one for each GPU or for so many cores, on this machine or on those of a cluster.

They are plain actors, and not those of Ray Data's ``map_batches``. Ray Data gives the next block to whichever actor is
free, so a group's memory bank would be built again for nearly every block; and an actor ends a block before it begins
another, so reading, predicting and writing would not overlap from block to block. What Ray Data is wanted for is little
here: for back-pressure `harness.job.dispatch` lets no actor have more than a few batches in hand, and what an actor had
that died goes to another, batch by batch.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

import torch

from harness.job.actor import Actor, Order, Report
from harness.job.engine import Lost, Machine, shares_of
from harness.options.config import LabelConfig
from harness.pipeline.cores import available
from harness.pipeline.plan import Chunk
from strategies.errors import UnavailableError, UserError

ADDRESS = "RAY_ADDRESS"
STORE = 100 * 2**20
"""Bytes of shared memory for a Ray of our own; chunks and reports are kilobytes."""
PATIENCE = 60.0
"""Seconds after which the wait for room in a cluster is told."""
ANSWERED_WITHIN = 10.0
"""Seconds in which a cluster's address has to answer."""


def check_ray(device: torch.device) -> None:
    """Raise UserError where Ray is not installed, or could not choose the GPUs."""
    found = find_spec("ray")
    if found is None or found.origin is None:  # A folder of that name is no Ray.
        raise UnavailableError("engine=ray needs Ray, which is not installed: pip install 'sambatch[ray]'")
    if device.index is not None:
        raise UserError(f"device={device} is a GPU of this machine, but with engine=ray Ray chooses: give device=cuda")


class RayEngine:
    """Actors of the cluster that the environment names as ``RAY_ADDRESS``, or else of a Ray on this machine alone."""

    def __init__(self, options: LabelConfig, device: torch.device, *, said: Callable[[str], None]) -> None:
        """said: told where the cluster has no room yet. Raises UserError where there is no cluster, or no GPU in it."""
        import ray  # It is optional, and takes a second to import.

        self._ray: Any = ray
        self._said = said
        self._warned = False
        self._actors: dict[int, Any] = {}
        self._takes: dict[Any, int] = {}
        _connect(ray)
        on_gpus = device.type == "cuda"
        machines = [
            Machine(cores=int(has.get("CPU", 0)), gpus=int(has.get("GPU", 0)) if on_gpus else 0)
            for has in (node["Resources"] for node in ray.nodes() if node["Alive"])
        ]
        machines = [one for one in machines if one.cores]
        gpus = sum(one.gpus for one in machines)
        if not machines or (on_gpus and not gpus):
            what = "GPU: give device=cpu" if on_gpus else "CPU"
            self.close()
            raise UserError(f"the cluster of engine=ray has no {what}")
        self.shares = shares_of(options, machines, here=available())
        actors = self.shares.actors
        self._needs = {
            "num_cpus": min(self.shares.cores, _portion(sum(one.cores for one in machines) / actors)),
            "num_gpus": min(1, _portion(gpus / actors)),
        }

    def start(self, number: int, order: Order) -> None:
        remote = self._ray.remote(max_concurrency=2, max_restarts=0, **self._needs)(Actor)
        self._actors[number] = remote.remote(order)
        self._listen(number)

    def give(self, number: int, chunk: Chunk) -> None:
        self._actors[number].give.remote(chunk)

    def next(self) -> tuple[int, Report | Lost]:
        ready: list[Any] = []
        while not ready:
            ready, _ = self._ray.wait(list(self._takes), num_returns=1, timeout=PATIENCE)
            if not ready and not self._warned:
                self._warned = True
                self._said(f"Ray has not answered for {PATIENCE:.0f} s: an actor needs {self._needs}, see `ray status`")
        number = self._takes.pop(ready[0])
        try:
            report: Report = self._ray.get(ready[0])
        except self._ray.exceptions.RayError as error:
            self._kill(number)
            return number, Lost(reason=f"an actor of Ray was lost ({' '.join(str(error).split())[:300]})")
        self._listen(number)
        return number, report

    def _listen(self, number: int) -> None:
        self._takes[self._actors[number].take.remote()] = number

    def close(self) -> None:
        for number in list(self._actors):
            self._kill(number)
        self._ray.shutdown()

    def _kill(self, number: int) -> None:
        with suppress(Exception):  # It is gone already, or its machine can't be reached.
            self._ray.kill(self._actors.pop(number))


def _connect(ray: Any) -> None:
    """Connect to the cluster, or start a Ray that ends with this process. Raises UserError where neither can be."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # It would tell its makers.
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    before = signal.getsignal(signal.SIGTERM)
    try:
        if address := os.environ.get(ADDRESS):
            _check_answered(address)
            ray.init(**quiet)
        else:
            ray.init("local", num_cpus=available(), object_store_memory=STORE, include_dashboard=False, **quiet)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError(
            f"Ray can't be reached ({' '.join(str(error).split())[:300]}): mend {ADDRESS}, or leave out engine=ray"
        ) from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)  # Ray's own handler would end the process by another exit code.


def _check_answered(address: str) -> None:
    """Raise OSError where nobody answers at a host and port; Ray itself would go on trying for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdigit():  # Others, as "auto", Ray finds out about at once.
        socket.create_connection((host, int(port)), timeout=ANSWERED_WITHIN).close()


def _portion(share: float) -> float:
    """Return a share of a resource as Ray takes it: a whole number from 1 on, thousandths below."""
    return int(share) if share >= 1 else int(1000 * share) / 1000
