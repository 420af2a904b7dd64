"""Commands in processes of their own, for what only a process can show: signals, kills, and what is left running."""

from __future__ import annotations

import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.paths import ROOT
from tests.support.remembered import rates_of_this_cpu, remembering_rates
from tests.support.warm import Forked, print_into, warm_templates


class Command(Forked):
    """``python -m harness ...`` with all imports done; what it writes to its streams goes to files."""

    def __init__(self, module: str, arguments: Sequence[str], folder: Path) -> None:
        self._streams = [Path(tempfile.mkstemp(dir=folder.parent, prefix=name)[1]) for name in ("out", "err")]
        of_this = (module, tuple(arguments), folder, environment_in(folder))
        super().__init__(_be_command, *of_this, *self._streams, rates_of_this_cpu())

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; returns what it wrote to its streams. Raises TimeoutExpired."""
        self.wait(timeout)
        out, err = (path.read_text(encoding="utf-8") for path in self._streams)
        return out, err


def start(folder: Path, *arguments: str, module: str = "harness") -> Command:
    """``python -m harness ...`` in ``folder``, which may hold strategies of its own; temporary files go to its tmp."""
    (folder / "tmp").mkdir(exist_ok=True)
    return Command(module, arguments, folder)


def environment_in(folder: Path) -> dict[str, str]:
    """The variables with which a command finds this project and a folder's own modules, on one thread."""
    path = os.pathsep.join([str(ROOT), str(folder)])
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder / "tmp")}


def _be_command(
    module: str,
    arguments: Sequence[str],
    folder: Path,
    environment: Mapping[str, str],
    out: Path,
    err: Path,
    rates: Mapping[tuple[str, ...], float],
) -> None:
    """Be a command that was just started; Ctrl-C works as in a terminal, wherever the tests run."""
    print_into(out, 1)
    print_into(err, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, str(folder))
    sys.argv[1:] = arguments
    tempfile.tempdir = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with warm_templates(), remembering_rates(rates):
        runpy.run_module(module, run_name="__main__", alter_sys=True)
