"""The table of faults, with a real worker for each point.

After each fault: no finished row is lost, the status is right and its reason can be understood, nothing goes on
running, and the same command with resume=true completes the grid. What a worker may do besides, and how its end is put
in words, is in `test_isolation.py`.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.faults import command, goes_on, left_running, own_strategies, statuses, stored
from tests.support.harness_runs import encode_here, only_run, run_here, summary
from tests.support.report_runs import unescaped

TIMEOUT, OF_HANGING = 60, 4
"""Seconds for a point, and for the one that needs all of them: it hangs after a fifth of one."""
FAULTS = ("exiting", "killed", "hanging", "hoarding", "babbling", "chatting")
"""In the order in which they are measured: the last one's is none."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A sweep over all faults and what was there after it."""

    folder: Path
    done: subprocess.CompletedProcess[str]
    rows: dict[str, dict[str, str]]
    before: dict[str, tuple[bytes, int]]
    report: str
    left: list[int]

    @property
    def run(self) -> Path:
        return only_run(self.folder / "results")


def make_table(folder: Path) -> Table:
    own_strategies(folder)
    with pytest.MonkeyPatch.context() as patch:
        encode_here(patch, timeouts={"hanging": OF_HANGING})
        done = run_here(folder, *command(folder, *FAULTS), f"timeout={TIMEOUT}")
    left = left_running(folder)
    made = only_run(folder / "results")
    rows = {line["strategy"]: line for line in summary(made)}
    report = unescaped((made / "report.md").read_text(encoding="utf-8"))
    return Table(folder=folder, done=done, rows=rows, before=stored(made), report=report, left=left)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Table:
    return make_table(tmp_path_factory.mktemp("table"))


@pytest.mark.processes
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (
            "exiting",
            "crash",
            "the worker exited with code 0, while checking the masks; it last said: no licence found",
        ),
        (
            "killed",
            "crash",
            "the worker was killed by SIGKILL (by hand, or by the system for want of memory), while checking the masks",
        ),
        (
            "hanging",
            "timeout",
            f"longer than timeout={OF_HANGING} seconds, while checking the masks; raise timeout= or ask for less",
        ),
        ("chatting", "ok", ""),
    ],
)
def test_each_fault_has_its_status_and_a_reason_that_a_person_understands(
    table: Table, fault: str, status: str, reason: str
) -> None:
    assert (table.rows[fault]["status"], table.rows[fault]["reason"]) == (status, reason)


@pytest.mark.processes
def test_memory_without_bound_under_a_limit_is_oom_by_the_allocators_word(table: Table) -> None:
    assert table.rows["hoarding"]["status"] == "oom"
    assert "DefaultCPUAllocator" in table.rows["hoarding"]["reason"]


@pytest.mark.processes
def test_garbage_on_all_pipes_is_a_crash_that_quotes_it(table: Table) -> None:
    assert table.rows["babbling"]["status"] == "crash"
    assert "no message" in table.rows["babbling"]["reason"]
    assert "tra la la" in table.rows["babbling"]["reason"]


@pytest.mark.processes
def test_points_after_the_faults_are_measured_and_every_point_has_a_row(table: Table) -> None:
    assert list(table.rows) == list(FAULTS)
    assert float(table.rows["chatting"]["fps"]) > 0
    assert all(table.rows[fault]["fps"] == "" for fault in FAULTS if table.rows[fault]["status"] != "ok")


@pytest.mark.processes
def test_the_exit_code_says_that_not_all_is_well_and_the_command_itself_has_no_traceback(table: Table) -> None:
    assert table.done.returncode == 1
    assert "Traceback (most recent call last)" not in table.done.stderr


@pytest.mark.processes
def test_points_whose_strategy_raised_have_its_last_frames_below_their_line(table: Table) -> None:
    lines = table.done.stderr.splitlines()
    heads = [at for at, line in enumerate(lines) if line.startswith("  Traceback, ")]
    assert [lines[at - 1].split()[1].partition("-")[0] for at in heads] == ["hoarding"]
    assert any(line.endswith(", in fault") for line in lines[heads[0] :])


@pytest.mark.processes
def test_every_fault_is_in_the_report(table: Table) -> None:
    for line in table.rows.values():
        assert line["point"] in table.report
        assert line["reason"] in table.report


@pytest.mark.processes
def test_what_a_failed_worker_printed_last_is_kept_but_not_megabytes(table: Table) -> None:
    files = {path.name.split("-")[0]: path for path in (table.run / "points").iterdir()}
    assert b"no licence found" in table.before["exiting"][0]
    assert all(len(content) < 100_000 for content, _ in table.before.values())
    assert set(files) == set(FAULTS)


@pytest.mark.processes
def test_no_worker_and_nothing_that_one_started_is_left(table: Table) -> None:
    assert (table.folder / "hanging").exists(), "it did start something"
    assert table.left == []
    assert list((table.folder / "tmp").iterdir()) == []


@pytest.mark.processes
def test_when_all_is_mended_the_same_command_completes_the_grid_and_measures_nothing_twice(
    table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert goes_on(table.folder, FAULTS, monkeypatch) == 0
    assert f"1 of {len(FAULTS)} points have their results already" in capsys.readouterr().err
    assert statuses(table.run) == dict.fromkeys(FAULTS, "ok")
    after = stored(table.run)
    assert [name for name in FAULTS if after[name] == table.before[name]] == ["chatting"]
