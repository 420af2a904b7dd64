"""A worker that breaks the rules of its pipes: its place is taken by a process that starts in no time."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from harness.isolate.failures import Failure
from harness.isolate.isolation import Outcome, run_apart
from tests.support.harness_runs import is_running, row, wait_for

PYTHON = Path(sys.executable).resolve()


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
    failure = stand_in.failure("time.sleep(60)", job=bytes(10_000_000), timeout=0.5)
    assert failure.status == "timeout"
    assert failure.reason == "longer than timeout=0.5 seconds, while starting; raise timeout= or ask for less"
    assert not stand_in.is_running


@pytest.mark.slow
def test_a_worker_that_hangs_in_c_and_holds_the_interpreter_is_stopped_by_the_clock(stand_in: StandIn) -> None:
    code = """os.write(fd, b'{"stage": "timing"}\\n'); import ctypes; ctypes.PyDLL(None).sleep(60)"""
    failure = stand_in.failure(code, timeout=1.5)
    assert failure.status == "timeout"
    assert failure.reason == "longer than timeout=1.5 seconds, while timing; raise timeout= or ask for less"
    assert not stand_in.is_running


def test_a_worker_that_closes_all_its_pipes_and_hangs_is_stopped_by_the_clock(stand_in: StandIn) -> None:
    assert stand_in.failure("os.closerange(0, 100); time.sleep(60)", timeout=0.5).status == "timeout"
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
