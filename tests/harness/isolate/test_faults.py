"""The table of faults, with a real worker for each point, and what a real command that is killed leaves.

After each fault: no finished row is lost, the status is right and its reason can be understood, nothing goes on
running, and the same command with resume=true completes the grid.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.result import PointResult
from harness.row import Row
from harness.store.results import RunFolder
from strategies.errors import UserError
from tests.support.harness_runs import (
    REPORTED,
    complaint,
    exit_code,
    only_run,
    processes_in,
    row,
    run_here,
    runs,
    start,
    summary,
    wait_for,
)
from tests.support.report_runs import unescaped

TIMEOUT = 45
"""Seconds for a point; one that goes well takes five, and on a busy machine several times as long."""

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


class Raising(Faulty):
    def fault(self):
        raise ZeroDivisionError("the third bolt is loose\\nsecond line")


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
NAMES = ("raising", "exiting", "killed", "hanging", "hoarding", "babbling", "chatting", "filling")
FAULTS = ("raising", "exiting", "killed", "hanging", "hoarding", "babbling", "chatting")
"""In the order in which they are measured: the last one's is none."""


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
    return [search, f"strategy={','.join(strategies)}", "batch=2", *REPORTED, "isolation=spawn", "compare=false"]


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


# --- the sweeps of this file ---------------------------------------------------------------------------------------


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
    done = run_here(folder, *command(folder, *FAULTS), f"timeout={TIMEOUT}")
    left = left_running(folder)
    made = only_run(folder / "results")
    rows = {line["strategy"]: line for line in summary(made)}
    report = unescaped((made / "report.md").read_text(encoding="utf-8"))
    return Table(folder=folder, done=done, rows=rows, before=stored(made), report=report, left=left)


def left_running(folder: Path) -> list[int]:
    """What still runs there, given time to die."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: processes_in(folder) == [], seconds=20)
    return processes_in(folder)


CUT_OFF = ("direct", "hanging")


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command that was ended by a signal, and what was there after it."""

    code: int
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
        _, err = process.communicate(timeout=120)
    finally:
        process.kill()
    return Ended(
        code=process.returncode,
        err=err,
        left=left_running(folder),
        before=stored(only_run(folder / "results")),
        temporary=list((folder / "tmp").iterdir()),
    )


def cut_off_again_and_again(folder: Path) -> dict[str, Ended]:
    """One sweep: killed after its first point, resumed and killed in its second, resumed and interrupted there."""
    own_strategies(folder)
    ends = {"killed between points": end(folder, when="results/*/points/*.json", by=signal.SIGKILL)}
    for how, by in (("killed during a point", signal.SIGKILL), ("interrupted", signal.SIGINT)):
        (folder / "hanging").unlink(missing_ok=True)
        ends[how] = end(folder, "resume=true", when="hanging", by=by)
    return ends


@dataclass(frozen=True, kw_only=True)
class Sweeps:
    """The sweep over all faults, and the one that is cut off, which goes on meanwhile: much of both is waiting."""

    table: Table
    ended: Future[dict[str, Ended]]
    ended_in: Path

    @property
    def ended_run(self) -> Path:
        return only_run(self.ended_in / "results")


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sweeps]:
    folder = tmp_path_factory.mktemp("ended")
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(cut_off_again_and_again, folder)
        yield Sweeps(table=make_table(tmp_path_factory.mktemp("table")), ended=ended, ended_in=folder)


@pytest.fixture(scope="module")
def table(sweeps: Sweeps) -> Table:
    return sweeps.table


@pytest.fixture(scope="module")
def ended(sweeps: Sweeps) -> dict[str, Ended]:
    return sweeps.ended.result()


# --- the table -----------------------------------------------------------------------------------------------------


@pytest.mark.processes
@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        ("raising", "crash", "ZeroDivisionError: the third bolt is loose"),
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
            f"longer than timeout={TIMEOUT} seconds, while checking the masks; raise timeout= or ask for less",
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
    assert [lines[at - 1].split()[1].partition("-")[0] for at in heads] == ["raising", "hoarding"]
    assert any(line.endswith(", in fault") for line in lines[heads[0] : heads[1]])


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
    assert "1 of 7 points have their results already" in capsys.readouterr().err
    assert statuses(table.run) == dict.fromkeys(FAULTS, "ok")
    after = stored(table.run)
    assert [name for name in FAULTS if after[name] == table.before[name]] == ["chatting"]


# --- a command that is killed, or interrupted ----------------------------------------------------------------------


KILLED = ("killed between points", "killed during a point")


@pytest.mark.processes
@pytest.mark.parametrize("how", [*KILLED, "interrupted"])
def test_a_command_that_ends_leaves_no_process(ended: dict[str, Ended], how: str) -> None:
    assert ended[how].left == []


@pytest.mark.processes
@pytest.mark.parametrize("how", KILLED)
def test_a_command_that_is_killed_loses_no_finished_point(ended: dict[str, Ended], how: str) -> None:
    assert ended[how].code == -signal.SIGKILL
    assert list(ended[how].before) == ["direct"]
    assert ended[how].before == ended["killed between points"].before


@pytest.mark.processes
def test_ctrl_c_ends_the_sweep_cleanly_and_what_is_finished_is_reported(
    sweeps: Sweeps, ended: dict[str, Ended]
) -> None:
    one = ended["interrupted"]
    assert one.code == 130, one.err
    assert "Traceback" not in one.err
    assert one.before == ended["killed between points"].before
    assert next((sweeps.ended_run / "points").iterdir()).stem in (sweeps.ended_run / "report.md").read_text()


@pytest.mark.processes
def test_what_a_killed_command_could_not_clean_up_the_next_does(ended: dict[str, Ended]) -> None:
    assert len(ended["killed during a point"].temporary) == 1, "its own, and none of the one before"
    assert ended["interrupted"].temporary == []


@pytest.mark.processes
def test_the_same_command_completes_the_grid_after_all_that_and_measures_nothing_twice(
    sweeps: Sweeps, ended: dict[str, Ended], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert goes_on(sweeps.ended_in, CUT_OFF, monkeypatch) == 0
    assert statuses(sweeps.ended_run) == dict.fromkeys(CUT_OFF, "ok")
    assert stored(sweeps.ended_run)["direct"] == ended["interrupted"].before["direct"]
    assert list((sweeps.ended_in / "tmp").iterdir()) == []


# --- a disk that is full or can't be written -----------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small file system of its own, where this system lets one be made."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    own_strategies(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def here(folder: Path, *strategies: str) -> list[str]:
    """A sweep in this process whose results go to the disk."""
    quick = ("isolation=inline", "paired=false", "pictures=0", "reporter=null", "results=disk/results")
    return [*command(folder, *strategies), *quick]


@pytest.mark.slow
def test_a_full_disk_ends_the_sweep_in_one_sentence_and_with_room_the_grid_is_completed(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = here(tmp_path, "direct", "filling", "sequential")
    assert exit_code(*words) == 2
    folder = only_run(disk / "results")
    said = complaint(capsys.readouterr().err.splitlines(keepends=True)[-1])
    assert f"disk/results/{folder.name}/points/filling-" in said
    assert "No space left on device" in said
    assert "resume=true" in said
    assert [(line.strategy, line.status) for line in RunFolder(folder).rows] == [("direct", "ok")]
    assert statuses(folder) == {"direct": "ok"}
    assert not list(folder.rglob("*.partial"))
    before = stored(folder)
    (disk / "ballast").unlink()
    (tmp_path / "mended").touch()
    assert exit_code(*words, "resume=true") == 0
    assert only_run(disk / "results") == folder
    assert statuses(folder) == {"direct": "ok", "filling": "ok", "sequential": "ok"}
    assert stored(folder)["direct"] == before["direct"]


@pytest.mark.slow
def test_a_results_folder_that_can_only_be_read_is_one_sentence_for_a_new_run_and_for_one_that_is_resumed(
    disk: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(*here(tmp_path, "direct")) == 0
    folder = only_run(disk / "results")
    before = stored(folder)
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    capsys.readouterr()
    assert exit_code(*here(tmp_path, "direct,sequential")) == 2
    said = complaint(capsys.readouterr().err)
    assert "results=disk/results can't be written to (Read-only file system)" in said
    assert exit_code(*here(tmp_path, "direct,sequential"), "resume=true") == 2
    said = complaint(capsys.readouterr().err.splitlines(keepends=True)[-1])
    assert f"disk/results/{folder.name}/" in said
    assert "Read-only file system" in said
    assert stored(folder) == before
    subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
    assert exit_code(*here(tmp_path, "direct,sequential"), "resume=true") == 0
    assert statuses(folder) == {"direct": "ok", "sequential": "ok"}
    assert stored(folder)["direct"] == before["direct"]
    assert runs(disk / "results") == [folder]


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """Limit the size of files, as a quota would, but without special rights."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def result(name: str) -> PointResult:
    return PointResult(row=Row(**row(name)), config={}, details={"much": "x" * 20_000})


@pytest.mark.parametrize("size", [0, 1, 10_000])
def test_a_result_that_can_not_be_written_whole_is_not_there_and_those_before_it_are(tmp_path: Path, size: int) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.add(result("one"))
    files = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with (
        no_file_larger_than(size),
        pytest.raises(UserError, match=r"points/two\.json can't be written \(File too large\).* resume=true"),
    ):
        folder.add(result("two"))
    assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == files
    assert [line.point for line in RunFolder(folder.path).rows] == ["one"]
    RunFolder(folder.path).add(result("two"))
    assert [line["point"] for line in summary(folder.path)] == ["one", "two"]


def test_a_result_whose_summary_can_not_be_written_any_more_is_not_lost(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    for number in range(20):
        folder.add(PointResult(row=Row(**row(f"point{number:02d}")), config={}))
    room = (folder.path / "summary.csv").stat().st_size
    with no_file_larger_than(room), pytest.raises(UserError, match=r"summary\.csv can't be written"):
        folder.add(PointResult(row=Row(**row("the last")), config={}))
    assert len(summary(folder.path)) == 20
    assert RunFolder(folder.path).rows[-1].point == "the last"


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root; the disk that can only be read is for it")
def test_a_run_whose_folder_is_forbidden_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_strategies(tmp_path)
    words = [*here(tmp_path, "direct"), "results=results"]
    assert exit_code(*words) == 0
    folder = only_run(tmp_path / "results")
    capsys.readouterr()
    folder.chmod(0o555)
    try:
        assert exit_code(*words, "resume=true") == 2
    finally:
        folder.chmod(0o755)
    assert "Permission denied" in complaint(capsys.readouterr().err.splitlines(keepends=True)[-1])
    shutil.rmtree(folder)
