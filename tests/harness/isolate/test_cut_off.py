"""What a real command leaves that is killed or interrupted, and what the next one makes of it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import start
from tests.support.faults import command, goes_on, left_running, own_strategies, statuses, stored
from tests.support.harness_runs import only_run, strict_json, wait_for

CUT_OFF = ("direct", "hanging")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that was ended by a signal, and what was there after it."""

    code: int
    out: str
    err: str
    left: list[int]
    before: dict[str, tuple[bytes, int]]
    temporary: list[Path]


def end(folder: Path, *more: str, when: str, by: signal.Signals) -> Ended:
    """Starts a command and sends it the signal as soon as there is such a file."""
    process = start(folder, *command(folder, *CUT_OFF), *more)
    try:
        wait_for(lambda: any(folder.glob(when)) or process.poll() is not None, seconds=240)
        process.send_signal(by)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Ended(
        code=process.returncode,
        out=out,
        err=err,
        left=left_running(folder),
        before=stored(only_run(folder / "results")),
        temporary=list((folder / "tmp").iterdir()),
    )


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One sweep: killed after its first point, resumed and killed in its second, resumed and interrupted there."""

    folder: Path
    killed_between: Ended
    killed: Ended
    interrupted: Ended

    @property
    def run(self) -> Path:
        return only_run(self.folder / "results")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    folder = tmp_path_factory.mktemp("cut off")
    own_strategies(folder)
    between = end(folder, when="results/*/points/*.json", by=signal.SIGKILL)
    ends = []
    for by in (signal.SIGKILL, signal.SIGINT):
        (folder / "hanging").unlink(missing_ok=True)
        ends.append(end(folder, "resume=true", when="hanging", by=by))
    return Sweep(folder=folder, killed_between=between, killed=ends[0], interrupted=ends[1])


@pytest.mark.processes
def test_a_command_that_ends_leaves_no_process(sweep: Sweep) -> None:
    assert sweep.killed_between.left == sweep.killed.left == sweep.interrupted.left == []


@pytest.mark.processes
def test_a_command_that_is_killed_loses_no_finished_point(sweep: Sweep) -> None:
    for one in (sweep.killed_between, sweep.killed):
        assert one.code == -signal.SIGKILL
        assert list(one.before) == ["direct"]
        assert one.before == sweep.killed_between.before


@pytest.mark.processes
def test_ctrl_c_ends_the_sweep_cleanly_and_what_is_finished_is_reported(sweep: Sweep) -> None:
    assert sweep.interrupted.code == 130, sweep.interrupted.err
    assert "Traceback" not in sweep.interrupted.err
    assert sweep.interrupted.before == sweep.killed.before
    assert statuses(sweep.run) == {"direct": "ok"}
    assert next((sweep.run / "points").iterdir()).stem in (sweep.run / "report.md").read_text(encoding="utf-8")
    assert "direct" in sweep.interrupted.out
    assert len(strict_json(sweep.run / "plan.json")) == 2


@pytest.mark.processes
def test_what_a_killed_command_could_not_clean_up_the_next_does(sweep: Sweep) -> None:
    assert len(sweep.killed.temporary) == 1, "its own, and none of the one before"
    assert sweep.interrupted.temporary == []


@pytest.mark.processes
def test_the_same_command_completes_the_grid_after_all_that_and_measures_nothing_twice(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert goes_on(sweep.folder, CUT_OFF, monkeypatch) == 0
    assert statuses(sweep.run) == dict.fromkeys(CUT_OFF, "ok")
    assert stored(sweep.run)["direct"] == sweep.interrupted.before["direct"]
    assert list((sweep.folder / "tmp").iterdir()) == []
