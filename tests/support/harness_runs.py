"""Runs of the harness for tests: the real command line, and hand-made points and result rows."""

from __future__ import annotations

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from harness.cli import main
from harness.isolate.isolation import Outcome, run_apart, run_inline
from harness.isolate.jobs import EncodeJob, Job, MeasureJob
from harness.isolate.processes import Start
from harness.options.config import DataConfig, HarnessConfig, ModelConfig, SyntheticConfig
from harness.options.points import Point
from harness.options.shipped import read_by_strategies, shipped
from tests.support.commands import environment_in

REPORTED = (
    *("data.groups=1", "targets=3", "data.parts=2", "objects=2", "pictures=1"),
    *("timing.min_seconds=0", "timing.min_rounds=1", "timing.max_seconds=0", "timing.warmup_seconds=0"),
    "timing.block_seconds=0",
    *("isolation=inline", "paired=false"),
)
"""Options of a sweep whose points take a fraction of a second each, half of it where they are not paired."""
TINY = (*REPORTED, "reporter=null")
"""The same without a report, which takes longer than the points."""

OWN = HarnessConfig.__dataclass_fields__
"""Options of the harness; others at the top level are knobs of strategies."""
TARGETS = {
    "direct": "strategies.direct.Direct",
    "sequential": "strategies.sequential.Sequential",
    "rebuild": "strategies.rebuild.Rebuild",
}


# --- the command line ----------------------------------------------------------------------------------------------


def heed_interrupts() -> None:
    """Ctrl-C as in a terminal: where the tests run in the background, it would be ignored, by their children too."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(folder: Path, *arguments: str, module: str = "harness") -> subprocess.CompletedProcess[str]:
    """``python -m harness ...`` in an interpreter of its own, which takes five seconds to begin."""
    (folder / "tmp").mkdir(exist_ok=True)
    words = [sys.executable, "-m", module, *arguments]
    return subprocess.run(
        words, cwd=folder, env=environment_in(folder), capture_output=True, text=True, timeout=300, check=False
    )


def run_here(
    folder: Path, *arguments: str, command: Callable[[Sequence[str]], int] = main
) -> subprocess.CompletedProcess[str]:
    """The same as `run` in this process: a process of its own would import torch and transformers for five seconds.

    command: the function behind ``python -m harness``, or behind another module.
    """
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    out, err = StringIO(), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.syspath_prepend(folder)
        patch.setattr(tempfile, "tempdir", str(temporary))
        code = _code_of(lambda: command(arguments))
    for name, module in list(sys.modules.items()):  # another folder may have strategies of the same name
        if (getattr(module, "__file__", None) or "").startswith(f"{folder}{os.sep}"):
            del sys.modules[name]
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


def exit_code(*arguments: str) -> int:
    """The exit code alone, in this process and in the folder that the test is in."""
    try:
        return _code_of(lambda: main(arguments))
    except SystemExit as left:  # from --help
        return left.code if isinstance(left.code, int) else 1


def _code_of(command: Callable[[], int]) -> int:
    """The exit code as Python gives it: 1, and a traceback on stderr, for what nobody caught."""
    try:
        return command()
    except Exception:
        traceback.print_exc()
        return 1


def complaint(err: str) -> str:
    """The one sentence of what a refused command wrote to stderr."""
    assert "Traceback" not in err
    assert err.count("\n") == 1, err
    assert err.startswith("error: "), err
    return err.removeprefix("error: ").strip()


# --- processes ----------------------------------------------------------------------------------------------------


def wait_for(condition: Callable[[], bool], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def is_running(process: int) -> bool:
    """False too for one that is dead and that nobody has waited for yet."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False
    return "State:\tZ" not in status


def processes_in(folder: Path) -> list[int]:
    """Those that run with this folder as their working directory: a command, its workers, and what they started."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink() == folder.resolve() and is_running(int(entry.name)):
                found.append(int(entry.name))
    return found


def fill_the_disk(patch: pytest.MonkeyPatch) -> None:
    """From here on, files can be opened, and what is written to them finds no room."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr("harness.store.atomic.os.fsync", full)


def encode_here(patch: pytest.MonkeyPatch, *, timeouts: Mapping[str, float] | None = None) -> None:
    """From here on, pictures are encoded in this process, which saves a worker; points are measured in theirs.

    timeouts: of points that have one of their own, by strategy.
    """

    def here_or_apart(job: Job, *, timeout: float | None, on_stage: Callable[[str], None], start: Start) -> Outcome:
        if isinstance(job, EncodeJob):
            return run_inline(job, on_stage=on_stage)
        own = (timeouts or {}).get(job.point.strategy) if isinstance(job, MeasureJob) else None
        return run_apart(job, timeout=own or timeout, on_stage=on_stage, start=start)

    patch.setattr("harness.sweep.run_apart", here_or_apart)


# --- what a run leaves ---------------------------------------------------------------------------------------------


def only_run(results: Path) -> Path:
    (found,) = runs(results)
    return found


def runs(results: Path) -> list[Path]:
    """Folders of runs, oldest first."""
    return sorted(path for path in results.glob("*/") if path.name != "latest")


def summary(run_folder: Path) -> list[dict[str, str]]:
    with (run_folder / "summary.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def strict_json(path: Path) -> Any:
    """The file's content; ValueError for the NaN and Infinity that only Python reads."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{path} holds {constant}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


# --- hand-made -----------------------------------------------------------------------------------------------------


def point(
    strategy: str = "direct",
    *,
    data: DataConfig | None = None,
    overrides: Sequence[str] = (),
    **options: Any,
) -> Point:
    """A point as the command line would compose it, of the small synthetic data where no other is given."""
    knobs = {name: options.pop(name, shipped()[name]) for name in read_by_strategies() if name not in OWN}
    arguments = {"bank": knobs["bank"]} if strategy == "direct" else {}
    config = HarnessConfig(
        strategy={"_target_": TARGETS[strategy], **arguments},
        baseline={"_target_": TARGETS["sequential"]},
        data=data or SyntheticConfig(name="synthetic", groups=1, parts=2),
        model=ModelConfig(name="toy"),
        **options,
    )
    return Point(
        strategy=strategy,
        baseline="sequential",
        config=config,
        knobs=knobs,
        variant=str(arguments.get("bank", "")),
        overrides=tuple(overrides),
    )


def row(name: str = "direct-shared-b1-oall-0", **changes: Any) -> dict[str, Any]:
    """A row of a point that went well."""
    return {
        "point": name,
        "strategy": "direct",
        "variant": "shared",
        "model": "toy",
        "data": "synthetic",
        "device": "a processor",
        "dtype": "fp32",
        "batch": 1,
        "objects": 4,
        "refs": 2,
        "targets": 16,
        "status": "ok",
        "reason": None,
        "fps": 12.5,
        "objects_per_s": 50.0,
        "command": "python -m harness strategy=direct",
    } | changes


def ended(name: str, status: str, reason: str, **changes: Any) -> dict[str, Any]:
    """A row of a point that was not measured."""
    measured = ("fps", "objects_per_s", "device")
    kept = {key: value for key, value in row(name, **changes).items() if key not in measured}
    return kept | {"status": status, "reason": reason}
