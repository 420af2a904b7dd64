"""A job in a process of its own: however that ends, the caller learns it in words and nothing of it stays behind.

Real workers do what a strategy may do to them; those that break the rules of the pipes are in `test_worker_pipes.py`.
"""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.isolate.failures import Failure
from harness.isolate.isolation import KEPT_OUTPUT, Outcome, run_apart
from harness.isolate.processes import Start, fork, spawn
from harness.isolate.tracebacks import last_frames
from harness.result import PointResult
from harness.row import Row
from tests.support.commands import environment_in
from tests.support.harness_runs import is_running, row, wait_for
from tests.support.paths import ROOT

RESULT = PointResult(row=Row(**row("one")), config={"batch": 1}, details={"agreement": None})
PYTHON = Path(sys.executable).resolve()

JOBS = '''
import atexit
import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from strategies.errors import UserError


class Job:
    """Tells two stages, then calls one of the functions below."""

    def __init__(self, what, *arguments):
        self.what, self.arguments = what, arguments

    def run(self, tell):
        tell("setting up")
        tell("at work")
        return globals()[self.what](*self.arguments)


def print_megabytes_and_leave_a_thread(result):
    for number in range(20):
        print("o" * 1_000_000, flush=True)
        print("e" * 1_000_000, file=sys.stderr)
    print("the end")
    threading.Thread(target=time.sleep, args=(300,)).start()
    return result


def refuse():
    raise UserError("targets/7.png can't be read; replace it")


def leave():
    sys.exit("done here")


def divide(number, folder):
    global log
    log = open(Path(folder, "log"), "w")
    log.write("begun")
    atexit.register(Path(folder, "ended").touch)
    print("it does not divide", end="")
    return number / 0


def segfault():
    print("the last words", flush=True)
    ctypes.string_at(0)


def note(folder, *pids):
    for pid in pids:
        Path(folder, str(pid)).touch()


def hang(folder):
    child = subprocess.Popen(["sleep", "300"])
    note(folder, os.getpid(), child.pid)
    time.sleep(300)


def hang_in_c(folder):
    note(folder, os.getpid())
    ctypes.PyDLL(None).sleep(300)  # holds the interpreter all the while
'''

PARENT = """
import sys
from threading import Thread

from faulty_jobs import Job
from harness.isolate import processes
from harness.isolate.isolation import run_apart
from harness.isolate.processes import fork, spawn

processes.NEEDED = ()  # These jobs need no torch.
start = {"fork": fork, "spawn": spawn}[sys.argv[2]]
for what in ("hang", "hang_in_c"):
    job = Job(what, sys.argv[1])
    Thread(target=run_apart, args=[job], kwargs=dict(timeout=None, on_stage=print, start=start)).start()
"""


@dataclass(frozen=True, kw_only=True)
class Done:
    """What came of a job in a worker."""

    outcome: Outcome
    stages: list[str]
    seconds: float

    @property
    def failure(self) -> Failure:
        assert self.outcome.result is None
        assert self.outcome.failure is not None, self.outcome
        return self.outcome.failure


@dataclass(frozen=True, kw_only=True)
class Doing:
    """The jobs of the first table, all at work, and a parent that waits for two more that hang."""

    jobs: dict[str, Callable[[], Done]]
    folder: Path
    parent: subprocess.Popen[bytes]
    parents_workers: Path

    def __call__(self, what: str) -> Done:
        return self.jobs[what]()


def noted(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


STARTS: dict[str, Start] = {"fork": fork, "spawn": spawn}


@pytest.fixture(scope="module", params=STARTS)
def done(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doing]:
    """All at once, because a worker that is spawned takes seconds to import what it needs; a template has one."""
    folder = tmp_path_factory.mktemp("jobs")
    (folder / "faulty_jobs.py").write_text(JOBS)
    (folder / "parents_workers").mkdir()
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, folder / "parents_workers", request.param],
        cwd=folder,
        env=environment_in(folder),
        stdout=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1 if request.param == "fork" else 3) as pool:
        patch.syspath_prepend(folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.delenv("PYTHONUNBUFFERED", raising=False)
        patch.setattr("harness.isolate.isolation.GRACE", 1.0)
        patch.setattr("harness.isolate.processes.NEEDED", ())
        make = importlib.import_module("faulty_jobs").Job

        def do(what: str, *arguments: Any) -> tuple[str, Callable[[], Done]]:
            def work() -> Done:
                stages: list[str] = []
                began = time.monotonic()
                outcome = run_apart(
                    make(what, *arguments), timeout=240, on_stage=stages.append, start=STARTS[request.param]
                )
                return Done(outcome=outcome, stages=stages, seconds=time.monotonic() - began)

            return what, pool.submit(work).result

        jobs = [
            do("print_megabytes_and_leave_a_thread", RESULT),
            do("refuse"),
            do("leave"),
            do("divide", 7, str(folder)),
            do("segfault"),
        ]
        try:
            yield Doing(jobs=dict(jobs), folder=folder, parent=parent, parents_workers=folder / "parents_workers")
        finally:
            parent.kill()
            parent.wait()


# --- a worker that does its job ------------------------------------------------------------------------------------


@pytest.mark.processes
def test_the_result_comes_back_and_the_stages_are_reported_in_order(done: Doing) -> None:
    one = done("print_megabytes_and_leave_a_thread")
    assert one.outcome.failure is None
    assert one.outcome.result == RESULT
    assert one.stages == ["setting up", "at work"]


@pytest.mark.processes
def test_of_megabytes_of_output_the_end_is_kept(done: Doing) -> None:
    output = done("print_megabytes_and_leave_a_thread").outcome.output
    assert len(output) <= KEPT_OUTPUT
    assert "the end" in output.splitlines()


@pytest.mark.processes
def test_a_thread_that_does_not_end_is_not_waited_for(done: Doing) -> None:
    assert done("print_megabytes_and_leave_a_thread").seconds < 120


# --- the first table: what a strategy may do to its worker ---------------------------------------------------------


@pytest.mark.processes
def test_bad_input_skips_the_point_and_is_refused(done: Doing) -> None:
    reason = "targets/7.png can't be read; replace it"
    assert done("refuse").failure == Failure(status="skipped", reason=reason, refused=True)


@pytest.mark.processes
def test_a_strategy_that_wants_to_end_the_program_ends_its_worker(done: Doing) -> None:
    assert done("leave").failure == Failure(status="crash", reason="SystemExit: done here")


@pytest.mark.processes
def test_a_strategy_that_raises_sends_the_whole_traceback(done: Doing) -> None:
    failure = done("divide").failure
    assert failure == Failure(status="crash", reason="ZeroDivisionError: division by zero")
    assert failure.traceback.startswith("Traceback (most recent call last):\n")
    assert "return number / 0" in failure.traceback
    assert failure.traceback.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.processes
def test_a_worker_ends_in_the_usual_way_so_that_nothing_is_left_unwritten(done: Doing) -> None:
    """However soon it ends: what is still in a file's memory, or left for the end, may be the trace of a fault."""
    assert done("divide").outcome.output == "it does not divide"
    assert (done.folder / "log").read_text() == "begun"
    assert (done.folder / "ended").exists()


@pytest.mark.processes
def test_bad_input_sends_no_traceback(done: Doing) -> None:
    assert done("refuse").failure.traceback == ""


@pytest.mark.processes
def test_a_worker_whose_interpreter_dies_leaves_its_stack(done: Doing) -> None:
    one = done("segfault")
    assert one.failure.reason == "the worker was killed by SIGSEGV, while at work; it last said: the last words"
    assert "Fatal Python error: Segmentation fault" in one.outcome.output
    (frame, *_) = last_frames(one.failure.traceback, root=Path("/nowhere"))[::-1]
    assert frame.endswith("in string_at")
    assert "in segfault" in one.failure.traceback


@pytest.mark.processes
def test_when_the_parent_is_killed_its_workers_and_all_that_they_started_vanish(done: Doing) -> None:
    wait_for(lambda: len(noted(done.parents_workers)) == 3 or done.parent.poll() is not None)
    processes = noted(done.parents_workers)
    assert len(processes) == 3, "one that hangs and its child, one that hangs in C"
    assert all(map(is_running, processes))
    done.parent.kill()
    done.parent.wait()
    wait_for(lambda: not any(map(is_running, processes)), seconds=20)


def test_a_worker_imports_nothing_before_it_would_die_with_its_parent() -> None:
    """Imports take seconds, and the parent may be killed in one of them."""
    code = "import sys, harness.isolate.worker; print(*(name for name in sys.modules if name.startswith('harness')))"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert done.stdout.split() == ["harness", "harness.isolate", "harness.isolate.worker"]
