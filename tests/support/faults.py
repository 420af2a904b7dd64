"""Strategies that do what they must not, in a user's folder, and sweeps over them."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.support.harness_runs import REPORTED, exit_code, processes_in, summary, wait_for

STRATEGIES = '''
import os
import resource
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import torch

from strategies import Direct


class Faulty(Direct):
    """Shows its fault until the file ``mended`` is there."""

    def _predict(self, targets):
        if not Path("mended").exists():
            self.fault()
        return super()._predict(targets)


class Exiting(Faulty):
    def fault(self):
        print("no licence found", flush=True)
        os._exit(0)


class Killed(Faulty):
    def fault(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Faulty):
    def fault(self):
        subprocess.Popen(["sleep", "300"])
        Path("hanging").touch()
        time.sleep(300)


class Hoarding(Faulty):
    def fault(self):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 29), -1))
        hoard = []
        while True:
            hoard.append(torch.ones(1 << 22))


class Babbling(Faulty):
    def fault(self):
        for number in range(1, 64):
            try:
                if stat.S_ISFIFO(os.fstat(number).st_mode):
                    os.write(number, b"\\xff\\x00 tra la la\\n")
            except OSError:
                continue


class Chatting(Direct):
    def _prepare(self, references):
        for number in range(8):
            print("o" * 1_000_000)
            print("e" * 1_000_000, file=sys.stderr)
        super()._prepare(references)


class Filling(Faulty):
    def fault(self):
        with open("disk/ballast", "ab", buffering=0) as file:
            try:
                while file.write(bytes(1 << 12)):
                    pass
            except OSError:
                pass
'''
NAMES = ("exiting", "killed", "hanging", "hoarding", "babbling", "chatting", "filling")
QUICK = ("compare=false", "paired=false", "pictures=0", "targets=2", "refs=1", "objects=1")
"""What is measured does not matter here."""


def own_strategies(folder: Path) -> str:
    """Writes the strategies into a user's folder; the option that makes them known."""
    (folder / "faulty_strategies.py").write_text(STRATEGIES)
    (folder / "my_conf" / "strategy").mkdir(parents=True)
    for name in NAMES:
        yaml = f"_target_: faulty_strategies.{name.capitalize()}\n"
        (folder / "my_conf" / "strategy" / f"{name}.yaml").write_text(yaml)
    return f"hydra.searchpath=[file://{folder / 'my_conf'}]"


def command(folder: Path, *strategies: str) -> list[str]:
    """Return the words of a small grid with a worker for each point."""
    search = f"hydra.searchpath=[file://{folder / 'my_conf'}]"
    return [search, f"strategy={','.join(strategies)}", "batch=2", *REPORTED, *QUICK, "isolation=fork"]


def goes_on(folder: Path, strategies: Sequence[str], patch: pytest.MonkeyPatch) -> int:
    """Exit code of the same command with resume=true when all is mended, in this process.

    It is no other grid for that; a worker for each point would take its seconds once more.
    """
    (folder / "mended").touch()
    patch.chdir(folder)
    patch.syspath_prepend(folder)
    patch.setattr(tempfile, "tempdir", str(folder / "tmp"))
    return exit_code(*command(folder, *strategies), "resume=true", "isolation=inline", "reporter=null")


def stored(run_folder: Path) -> dict[str, tuple[bytes, int]]:
    """Content of each point's file and when it was written, by strategy."""
    files = (run_folder / "points").glob("*.json")
    return {path.name.split("-")[0]: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def statuses(run_folder: Path) -> dict[str, str]:
    return {line["strategy"]: line["status"] for line in summary(run_folder)}


def left_running(folder: Path) -> list[int]:
    """What still runs there, given time to die.

    A template that has its order forks the worker even where the command is killed by then. Such a worker comes late
    and ends at once, as no job comes to it, so none may be there at two looks in a row.
    """
    found: set[int] = set()

    def are_gone() -> bool:
        found.clear()
        found.update(processes_in(folder))
        time.sleep(0.1)
        found.update(processes_in(folder))
        return not found

    with contextlib.suppress(AssertionError):
        wait_for(are_gone, seconds=20)
    return sorted(found)
