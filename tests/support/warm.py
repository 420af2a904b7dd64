"""Processes that have all imports done: they are forked from one that imported torch and transformers, once.

An interpreter of its own would import them for five seconds. What is forked here is in the state of a process that was
just started, so tests of signals and kills, and of what is left running, show the same for a hundredth of the time.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing.context import BaseContext, ForkServerContext
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from harness.isolate.processes import NEEDED, READ_AT_START, begin_template
from harness.isolate.template import serve
from tests.support.paths import ROOT
from tests.support.remembered import rates_of_this_cpu, remembering_rates

IMPORTED = [*NEEDED, "harness.cli", "harness.commands.label", "report.write", "tests.support.remembered"]
"""What workers and commands need."""


def read_at_start() -> dict[str, str]:
    """The variables that decide how libraries are loaded; where modules are is told to each process."""
    return {name: os.environ[name] for name in os.environ if name.startswith(READ_AT_START) and name != "PYTHONPATH"}


LOADED_WITH = read_at_start() | {"OMP_NUM_THREADS": "1"}


def print_into(path: Path, *streams: int) -> None:
    """From here on, what this process writes to these streams goes to a file."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    for stream in streams:
        os.dup2(file, stream)
    os.close(file)


@cache
def server() -> ForkServerContext:
    """The context whose processes are forked from the one with the imports, which begins in no test's folder."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with pytest.MonkeyPatch.context() as changed:
        changed.chdir(ROOT)
        changed.setattr(tempfile, "tempdir", None)
        for name in read_at_start().keys() - LOADED_WITH.keys():
            changed.delenv(name)
        for name, value in LOADED_WITH.items():
            changed.setenv(name, value)
        multiprocessing.forkserver.ensure_running()
    return context


def context() -> BaseContext:
    """The same, and in a process that was itself forked from there the one whose processes are forks of it."""
    return server() if multiprocessing.parent_process() is None else multiprocessing.get_context("fork")


class Forked:
    """A process with all imports done; it has the methods of `subprocess.Popen` that are in use."""

    def __init__(self, target: Callable[..., None], *arguments: Any, daemon: bool = False) -> None:
        self._process: Any = context().Process(target=target, args=arguments, daemon=daemon)  # type: ignore[attr-defined]
        self._process.start()
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        code: int | None = self._process.exitcode
        return code

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises TimeoutExpired."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def begin_warm_template(orders: socket.socket, modules: Sequence[str]) -> Any:
    """`begin_template`, which has no imports to do where libraries would be loaded in the same way as here."""
    if list(modules) != list(NEEDED) or read_at_start() != LOADED_WITH:
        return begin_template(orders, modules)
    with orders.dup() as theirs:
        # Nobody waits for it in the end.
        return Forked(_be_template, theirs, tuple(modules), rates_of_this_cpu(), daemon=True)


def _be_template(orders: socket.socket, modules: Sequence[str], rates: Mapping[tuple[str, ...], float]) -> None:
    """Serve orders as ``python -m harness.isolate.template`` does, with nothing that is open where this was forked.

    rates: of the device, which each worker would measure.
    """
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    os.closerange(3, orders.fileno())
    os.closerange(orders.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    with remembering_rates(rates):
        code = serve(orders, modules)
    raise SystemExit(code)


@contextmanager
def warm_templates() -> Iterator[None]:
    """From here on, workers are forked from templates that have no imports to do; commands begin in this state."""
    with patch("harness.isolate.processes.begin_template", begin_warm_template):
        yield
