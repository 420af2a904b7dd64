"""A job in a process of its own: however that ends, the caller learns it in words and nothing of it stays behind.

Two tables of faults. In the first a real worker does what a strategy may do to it; in the second the worker's place is
taken by a process that starts in no time and breaks the rules of the pipes.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from harness.isolate.failures import Failure
from harness.isolate.isolation import KEPT_OUTPUT, Outcome, run_apart, run_inline
from harness.isolate.processes import Start, fork, spawn
from harness.isolate.tracebacks import last_frames
from harness.result import PointResult
from harness.row import Row
from strategies.errors import UserError
from tests.support.harness_runs import ROOT, is_running, row, wait_for

RESULT = PointResult(row=Row(**row("one")), config={"batch": 1}, details={"agreement": None})
PYTHON = Path(sys.executable).resolve()

JOBS = '''
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


def divide(number):
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
from harness.isolate.isolation import run_apart
from harness.isolate.processes import fork, spawn

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
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    with pytest.MonkeyPatch.context() as patch, ThreadPoolExecutor(1 if request.param == "fork" else 3) as pool:
        patch.syspath_prepend(folder)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr("harness.isolate.isolation.GRACE", 1.0)
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
            do("divide", 7),
            do("segfault"),
        ]
        try:
            yield Doing(jobs=dict(jobs), parent=parent, parents_workers=folder / "parents_workers")
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


# --- the second table: a worker that breaks the rules --------------------------------------------------------------


@dataclass(kw_only=True)
class StandIn:
    """Takes the worker's place: Python code that starts at once, and knows the message pipe as ``fd``."""

    folder: Path
    patch: pytest.MonkeyPatch
    stages: list[str] = field(default_factory=list)

    def __call__(self, code: str) -> None:
        program = self.folder / "stand_in"
        head = f"#!{PYTHON} -IS\nimport os, sys, time\nfd = int(sys.argv[3])\n"
        program.write_text(f"{head}open({str(self._noted)!r}, 'w').write(str(os.getpid()))\n{code}\n")
        program.chmod(0o755)
        self.patch.setattr(sys, "executable", str(program))

    def run(self, code: str, *, job: object = None, timeout: float | None = 20) -> Outcome:
        self(code)
        return run_apart(job, timeout=timeout, on_stage=self.stages.append)  # type: ignore[arg-type]

    def failure(self, code: str, *, job: object = None, timeout: float | None = 20) -> Failure:
        failure = self.run(code, job=job, timeout=timeout).failure
        assert failure is not None
        return failure

    @property
    def is_running(self) -> bool:
        return is_running(int(self._noted.read_text()))

    @property
    def _noted(self) -> Path:
        return self.folder / "pid"


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """Afterwards no file is left open and no process is left, not even a dead one."""
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - iterdir would hold one more open
    yield StandIn(folder=tmp_path, patch=monkeypatch)
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
    if (tmp_path / "pid").exists():
        assert not Path("/proc", (tmp_path / "pid").read_text()).exists()


RESULT_WITHOUT_A_NAME = '{"done": {"row": {"status": "ok"}, "config": {}, "samples": [], "details": {}}}'
RESULT_OF_NO_STATUS = '{"done": {"row": {"point": "a", "status": "fine"}, "config": {}, "samples": [], "details": {}}}'


@pytest.mark.parametrize(
    "message",
    [
        pytest.param("", id="nothing"),
        pytest.param("Epoch 1: 100%", id="words"),
        pytest.param("\\x00\\xff\\xfe\\x80", id="bytes"),
        pytest.param("[" * 100_000, id="deep"),
        pytest.param("null", id="null"),
        pytest.param("[1, 2]", id="list"),
        pytest.param("{}", id="empty"),
        pytest.param('{"stage": 5}', id="stage that is a number"),
        pytest.param('{"done": 5}', id="result that is a number"),
        pytest.param('{"done": {"row": {}}}', id="part of a result"),
        pytest.param(RESULT_WITHOUT_A_NAME, id="result without a name"),
        pytest.param(RESULT_OF_NO_STATUS, id="result of no status"),
        pytest.param('{"failure": {}}', id="empty failure"),
        pytest.param('{"failure": {"status": "bad", "reason": "so", "traceback": ""}}', id="failure of no status"),
        pytest.param('{"failure": {"status": "crash", "reason": "so", "traceback": 3}}', id="traceback of no text"),
        pytest.param(
            '{"failure": {"status": "crash", "reason": "so", "traceback": "", "excuse": ""}}',
            id="failure with an excuse",
        ),
    ],
)
def test_a_line_that_is_no_message_ends_the_worker_as_crashed(stand_in: StandIn, message: str) -> None:
    failure = stand_in.failure(f"os.write(fd, b'''{message}\\n'''); time.sleep(60)")
    assert failure.status == "crash"
    assert failure.reason.startswith("the worker's pipe brought what is no message")
    assert failure.reason.endswith("while starting")
    assert len(failure.reason) < 500


def test_half_a_message_is_none(stand_in: StandIn) -> None:
    failure = stand_in.failure("""os.write(fd, b'{"stage": "first"}\\n{"stage": "sec')""")
    assert failure.status == "crash"
    assert "no message" in failure.reason
    assert failure.reason.endswith("while first")


def test_a_line_without_end_is_cut_short(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.isolate.isolation.LONGEST_MESSAGE", 1 << 20)
    assert "no message" in stand_in.failure("while True: os.write(fd, b'x' * 65536)").reason


def test_a_result_of_many_megabytes_arrives_whole_and_soon(stand_in: StandIn) -> None:
    began = time.monotonic()
    head = f'{{"done": {{"row": {json.dumps(row("one"))}, "config": {{}}, "samples": [], "details": {{"much": "'
    outcome = stand_in.run(
        f"with open(fd, 'w') as pipe: pipe.write('{head}' + 'x' * (1 << 26) + '\"}}}}}}\\n')",
        timeout=60,
    )
    assert outcome.result is not None
    assert len(outcome.result.details["much"]) == 1 << 26
    assert time.monotonic() - began < 30


def test_a_result_whose_row_holds_what_its_column_can_not_is_no_message(stand_in: StandIn) -> None:
    content = json.dumps({"done": {"row": row("one", converged="False"), "config": {}, "samples": [], "details": {}}})
    failure = stand_in.failure(f"os.write(fd, {content.encode()!r} + b'\\n'); time.sleep(60)")
    assert failure.status == "crash"
    assert "no message" in failure.reason


def test_a_message_may_come_in_pieces_and_several_in_one(stand_in: StandIn) -> None:
    stand_in.run(
        'os.write(fd, b\'{"stage": "o\'); time.sleep(0.1)\n'
        'os.write(fd, b\'ne"}\\n{"stage": "two"}\\n{"stage":\'); time.sleep(0.1)\n'
        'os.write(fd, b\' "three"}\\n{"done": null}\\n\')'
    )
    assert stand_in.stages == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("os._exit(3)", "exited with code 3"),
        (
            "print('last words', flush=True); os._exit(0)",
            "exited with code 0, while starting; it last said: last words",
        ),
        ("os.kill(os.getpid(), 9)", "was killed by SIGKILL"),
        ("os.kill(os.getpid(), 11)", "was killed by SIGSEGV"),
        ("os.abort()", "was killed by SIGABRT"),
        ("os.kill(os.getpid(), 36)", "was killed by signal 36"),
    ],
)
def test_a_worker_that_ends_without_a_word_has_crashed_as_the_system_tells(
    stand_in: StandIn, code: str, words: str
) -> None:
    failure = stand_in.failure(code)
    assert failure.status == "crash"
    assert words in failure.reason


def test_a_worker_that_dies_before_it_takes_its_job_is_recognised_by_its_end(stand_in: StandIn) -> None:
    failure = stand_in.failure("print('no module named torch', flush=True); os._exit(1)", job=bytes(10_000_000))
    reason = "the worker exited with code 1, while starting; it last said: no module named torch"
    assert failure == Failure(status="crash", reason=reason)


def test_a_worker_that_never_takes_its_job_is_stopped_by_the_clock(stand_in: StandIn) -> None:
    failure = stand_in.failure("time.sleep(60)", job=bytes(10_000_000), timeout=1)
    assert failure.status == "timeout"
    assert failure.reason == "longer than timeout=1 seconds, while starting; raise timeout= or ask for less"
    assert not stand_in.is_running


@pytest.mark.slow
def test_a_worker_that_hangs_in_c_and_holds_the_interpreter_is_stopped_by_the_clock(stand_in: StandIn) -> None:
    code = """os.write(fd, b'{"stage": "timing"}\\n'); import ctypes; ctypes.PyDLL(None).sleep(60)"""
    failure = stand_in.failure(code, timeout=1.5)
    assert failure.status == "timeout"
    assert failure.reason == "longer than timeout=1.5 seconds, while timing; raise timeout= or ask for less"
    assert not stand_in.is_running


def test_a_worker_that_closes_all_its_pipes_and_hangs_is_stopped_by_the_clock(stand_in: StandIn) -> None:
    assert stand_in.failure("os.closerange(0, 100); time.sleep(60)", timeout=1).status == "timeout"
    assert not stand_in.is_running


def test_a_worker_that_closes_all_its_pipes_and_exits_later_is_recognised_by_its_end(stand_in: StandIn) -> None:
    failure = stand_in.failure("os.closerange(0, 100); time.sleep(0.5); os._exit(4)", timeout=None)
    assert failure.reason == "the worker exited with code 4, while starting"


def test_a_child_that_holds_the_pipes_of_a_dead_worker_delays_nothing_and_is_gone(stand_in: StandIn) -> None:
    child = stand_in.folder / "child"
    code = f"child = os.fork()\nif child == 0: time.sleep(60)\nopen({str(child)!r}, 'w').write(str(child))\nos._exit(3)"
    began = time.monotonic()
    assert stand_in.failure(code, timeout=None).reason == "the worker exited with code 3, while starting"
    assert time.monotonic() - began < 20
    wait_for(lambda: not is_running(int(child.read_text())), seconds=20)


def test_a_child_that_goes_on_printing_after_the_workers_end_delays_nothing_much(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.isolate.isolation.GRACE", 0.5)
    failure = stand_in.failure(
        "if os.fork() == 0:\n    while True: print('still here', flush=True)\nos._exit(3)", timeout=None
    )
    assert failure.status == "crash"
    assert failure.reason.startswith("the worker exited with code 3")


def test_a_result_stands_whatever_the_worker_does_after_it(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.isolate.isolation.GRACE", 0.5)
    assert stand_in.run("os.write(fd, b'{\"done\": null}\\n'); os.abort()").failure is None
    assert stand_in.run("os.write(fd, b'{\"done\": null}\\n'); time.sleep(60)").failure is None
    assert not stand_in.is_running


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, TypeError])
def test_whatever_ends_the_wait_the_worker_is_gone(stand_in: StandIn, error: type[BaseException]) -> None:
    def fail(stage: str) -> None:
        raise error(stage)

    stand_in('os.write(fd, b\'{"stage": "one"}\\n\'); time.sleep(60)')
    with pytest.raises(error, match="one"):
        run_apart(None, timeout=20, on_stage=fail)  # type: ignore[arg-type]
    assert not stand_in.is_running


def test_a_worker_that_can_not_be_started_is_a_failure_like_others(
    stand_in: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    outcome = run_apart(None, timeout=20, on_stage=print)  # type: ignore[arg-type]
    assert outcome.failure is not None
    assert outcome.failure.status == "crash"
    assert "/nowhere/python" in outcome.failure.reason


def test_a_job_that_can_not_travel_starts_nothing(stand_in: StandIn) -> None:
    with pytest.raises(Exception, match="pickle"):
        stand_in.run("time.sleep(60)", job=lambda: None)
    assert not (stand_in.folder / "pid").exists()


# --- inline --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Here:
    """A job that needs no worker."""

    error: BaseException | None = None

    def run(self, tell: Callable[[str], None]) -> PointResult:
        tell("here")
        if self.error is not None:
            raise self.error
        return RESULT


def inline(job: Here) -> tuple[Outcome, list[str]]:
    stages: list[str] = []
    return run_inline(job, on_stage=stages.append), stages  # type: ignore[arg-type]


def test_inline_the_result_and_the_stages_are_the_same() -> None:
    assert inline(Here()) == (Outcome(result=RESULT), ["here"])


def test_inline_errors_become_the_same_failures() -> None:
    assert inline(Here(error=ZeroDivisionError("no"))) == (
        Outcome(failure=Failure(status="crash", reason="ZeroDivisionError: no")),
        ["here"],
    )
    assert inline(Here(error=MemoryError()))[0].failure == Failure(status="oom", reason="MemoryError: no message")
    refused = Failure(status="skipped", reason="mend it", refused=True)
    assert inline(Here(error=UserError("mend it")))[0].failure == refused


def test_inline_the_exception_itself_is_kept_for_a_debugger_but_for_bad_input() -> None:
    error = ZeroDivisionError("no")
    outcome = inline(Here(error=error))[0]
    assert outcome.error is error
    assert outcome.failure is not None
    assert "raise self.error" in outcome.failure.traceback
    refused = inline(Here(error=UserError("mend it")))[0]
    assert refused.error is None
    assert refused.failure is not None
    assert refused.failure.traceback == ""


def test_inline_an_interrupt_ends_the_program() -> None:
    with pytest.raises(KeyboardInterrupt):
        inline(Here(error=KeyboardInterrupt()))


class MuteError(Exception):
    def __str__(self) -> str:
        raise ValueError("no message for anybody")


@pytest.mark.parametrize("raised", [SystemExit(0), GeneratorExit(), MuteError()])
def test_inline_whatever_else_is_raised_ends_the_job_alone(raised: BaseException) -> None:
    outcome, _ = inline(Here(error=raised))
    assert outcome.failure is not None
    assert outcome.failure.status == "crash"
    assert type(raised).__name__ in outcome.failure.reason
    assert isinstance(outcome.error, Exception), "which the command raises in the end"
    assert raised in (outcome.error, outcome.error.__cause__)


def test_a_worker_imports_nothing_before_it_would_die_with_its_parent() -> None:
    """Imports take seconds, and the parent may be killed in one of them."""
    code = "import sys, harness.isolate.worker; print(*(name for name in sys.modules if name.startswith('harness')))"
    done = subprocess.run([PYTHON, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, timeout=60)
    assert done.stdout.split() == ["harness", "harness.isolate", "harness.isolate.worker"]
