"""Files that are written whole: no half of one, nobody else's place, and the one before where there is no room."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.store.atomic import refuse_unwritable, remove_unfinished, write_whole
from strategies.errors import UserError
from tests.support.harness_runs import fill_the_disk


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "theirs.txt").write_text("keep")
    (tmp_path / "mine.txt").symlink_to("theirs.txt")
    write_whole(tmp_path / "mine.txt", "new")
    assert (tmp_path / "theirs.txt").read_text() == "keep"
    assert (tmp_path / "mine.txt").read_text() == "new"
    assert not (tmp_path / "mine.txt").is_symlink()


def test_many_may_write_one_file_at_once(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: write_whole(tmp_path / "a.txt", str(number) * 10_000), range(8)))
    assert len(set((tmp_path / "a.txt").read_text())) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_whole(tmp_path / "a.txt", "before")
    fill_the_disk(monkeypatch)
    with pytest.raises(UserError, match=r"a\.txt can't be written \(No space left on device\)"):
        write_whole(tmp_path / "a.txt", b"after")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["before"]


def test_what_was_left_unfinished_is_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "points").mkdir()
    for name in (".one.partial", "points/.two.partial", "points/three.json", "partial"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["partial", "three.json"]


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UserError, match="is there and is no plain file"):
        write_whole(pipe, "text")
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_whether_a_file_can_be_written_is_told_without_a_trace(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refuse_unwritable(tmp_path / "file")
    refuse_unwritable(tmp_path / "folder" / "deeper" / "mine.json")
    with pytest.raises(UserError, match=r"mine\.json can't be written \(Not a directory\)"):
        refuse_unwritable(tmp_path / "file" / "mine.json")
    with pytest.raises(UserError, match="is there and is no plain file"):
        refuse_unwritable(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
