"""A run is measured by one process at a time."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.store.lock import NAME, locked
from harness.store.results import RunFolder
from strategies.errors import UserError
from tests.support.harness_runs import TINY, complaint, exit_code


def test_a_run_that_is_being_measured_is_refused_with_the_name_of_who_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = RunFolder(tmp_path / "results" / "run")
    with locked(run.path):
        assert exit_code(*TINY, "strategy=direct", f"resume={run.path}") == 2
    sentence = complaint(capsys.readouterr().err)
    for words in (str(run.path), f"process {os.getpid()} on {socket.gethostname()} since 2"):
        assert words in sentence
    assert list((run.path / "points").iterdir()) == []
    assert not (run.path / NAME).exists()


@pytest.mark.parametrize("said", ["", "{", '{"pid": "many"}', "\x00" * 5000])
def test_a_lock_that_does_not_say_whose_it_is_is_one_all_the_same(tmp_path: Path, said: str) -> None:
    with locked(tmp_path):
        (tmp_path / NAME).write_text(said)
        with pytest.raises(UserError, match="by another process"), locked(tmp_path):
            pass


def test_what_a_killed_process_left_is_no_lock(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"pid": 1, "host": "here", "since": "ever"}')
    (tmp_path / ".summary.csv.partial").touch()
    with locked(tmp_path):
        assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert list(tmp_path.iterdir()) == []


def test_one_at_a_time_however_often(tmp_path: Path) -> None:
    inside: list[int] = []

    def one(number: int) -> bool:
        try:
            with locked(tmp_path):
                inside.append(number)
                alone = len(inside) == 1
                inside.remove(number)
                return alone
        except UserError:
            return True

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(200)))
