"""A disk that is full or can't be written: one sentence, nothing half-written, and what is finished stays."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.result import PointResult
from harness.row import Row
from harness.store.results import RunFolder
from strategies.errors import UserError
from tests.support.faults import command, own_strategies, statuses, stored
from tests.support.harness_runs import complaint, exit_code, only_run, row, runs, summary


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
    return [*command(folder, *strategies), "isolation=inline", "reporter=null", "results=disk/results"]


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
