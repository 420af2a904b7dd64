"""Workers that are forked from a template: they begin as spawned ones do, and much sooner."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from harness.isolate.isolation import Outcome, run_apart
from harness.isolate.processes import Start, fork, spawn
from harness.options.devices import computes_on_cpu
from tests.support.harness_runs import is_running, wait_for

pytestmark = pytest.mark.processes

JOBS = '''
import json
import os
import sys
import time
from pathlib import Path


class Job:
    """Notes the state that it finds itself in."""

    def __init__(self, into, seconds=0.0):
        self.into, self.seconds = into, seconds

    def run(self, tell):
        state = {
            "folder": os.getcwd(),
            "variable": os.environ.get("OF_THE_TEST"),
            "others": sorted(name for name in os.environ if name.startswith("OF_")),
            "path": [place for place in dict.fromkeys(sys.path) if os.path.isdir(place)],
            "leads its group": os.getpgrp() == os.getpid(),
            "on a terminal": os.isatty(0),
            "parent": os.getppid(),
            "number": os.getpid(),
            "threads": os.environ.get("OMP_NUM_THREADS"),
        }
        partial = Path(f"{self.into}.partial")
        partial.write_text(json.dumps(state))
        partial.rename(self.into)
        time.sleep(self.seconds)
'''


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A job of a module that only the test's folder has."""
    (tmp_path / "noting_jobs.py").write_text(JOBS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OF_THE_TEST", "one")
    monkeypatch.setattr("harness.isolate.processes.NEEDED", ())  # These jobs need no torch.
    importlib.invalidate_caches()
    yield importlib.import_module("noting_jobs").Job
    del sys.modules["noting_jobs"]


def state(job: Any, into: Path, *, start: Start = fork, timeout: float = 120) -> dict[str, Any]:
    assert run_apart(job(into), timeout=timeout, on_stage=lambda _: None, start=start) == Outcome()
    found: dict[str, Any] = json.loads(into.read_text())
    return found


def test_a_forked_worker_begins_in_the_state_of_a_spawned_one(
    job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forked, spawned = state(job, tmp_path / "forked"), state(job, tmp_path / "spawned", start=spawn)
    own = ("number", "parent")
    assert {key: forked[key] for key in forked if key not in own} == {
        key: spawned[key] for key in spawned if key not in own
    }
    assert forked["folder"] == str(tmp_path)
    assert forked["leads its group"]
    assert spawned["parent"] == os.getpid()
    assert forked["parent"] != os.getpid()
    monkeypatch.setenv("OF_THE_TEST", "two")
    again = state(job, tmp_path / "again")
    assert again["variable"] == "two", "the template was there before"
    assert again["parent"] == forked["parent"]


def test_what_libraries_read_when_they_are_loaded_makes_another_template(
    job: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state(job, tmp_path / "before")
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    after = state(job, tmp_path / "after")
    assert after["threads"] == "7"
    assert after["parent"] != before["parent"]
    wait_for(lambda: not is_running(before["parent"]), seconds=20)


def test_a_second_worker_at_the_same_time_is_spawned(job: Callable[..., Any], tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(run_apart, job(tmp_path / "first", 60.0), timeout=100, on_stage=print, start=fork)
        wait_for((tmp_path / "first").exists, seconds=60)
        assert state(job, tmp_path / "second")["parent"] == os.getpid()
        assert not first.done()
        os.kill(json.loads((tmp_path / "first").read_text())["number"], signal.SIGKILL)


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_template_that_is_killed_costs_its_worker_and_no_other(
    job: Callable[..., Any], tmp_path: Path, when: str
) -> None:
    template = state(job, tmp_path / "first")["parent"]
    if when == "before":
        os.kill(template, signal.SIGKILL)
        wait_for(lambda: not is_running(template), seconds=20)
    else:
        with ThreadPoolExecutor(1) as pool:
            beside = pool.submit(run_apart, job(tmp_path / "beside", 60.0), timeout=100, on_stage=print, start=fork)
            wait_for((tmp_path / "beside").exists, seconds=60)
            os.kill(template, signal.SIGKILL)
            failure = beside.result(timeout=30).failure
        assert failure is not None
        assert failure.killed
        assert "was killed by SIGKILL" in failure.reason
    later = state(job, tmp_path / "later")
    assert later["parent"] not in (template, os.getpid())


def test_only_workers_on_a_cpu_are_forked() -> None:
    assert computes_on_cpu("cpu")
    assert not computes_on_cpu("cuda:0")
