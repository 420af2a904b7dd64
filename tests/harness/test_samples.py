"""Large data is measured by a sample of its groups, and no further than the disk has room."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.options.compose import compose
from tests.support.harness_runs import REPORTED, complaint, only_run, run_here, runs, summary
from tests.support.jobs import draw

QUICK = tuple(word for word in REPORTED if not word.startswith("data."))
ALONE = ("paired=false", "compare=false", "pictures=0", "refs=1", "objects=1")
WORDS = ("data=folder", "data.root=my_data", "strategy=sequential", "batch=1", "reporter=null", *QUICK, *ALONE)


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "groups"), [("2", ["0", "2"]), ("[specimen001,specimen002]", ["1", "2"])])
def test_a_sweep_takes_the_groups_that_are_asked_for(tmp_path: Path, asked: str, groups: list[str]) -> None:
    draw(tmp_path / "my_data", groups=3, targets=1)
    ended = run_here(tmp_path, *WORDS, f"data.groups={asked}")
    assert ended.returncode == 0, ended.stderr
    (row,) = summary(only_run(tmp_path / "results"))
    assert (row["status"], row["targets"]) == ("ok", "2")
    assert f"data.groups={asked}" in row["options"].replace('"', "")
    assert f"data.groups={asked}" in row["command"]


def test_points_of_all_groups_have_the_words_that_they_had() -> None:
    (of_folder,) = compose(["data=folder", "data.root=x", "strategy=direct"])
    (drawn,) = compose(["data=synthetic", "strategy=direct"])
    assert [word for point in (of_folder, drawn) for word in point.words if word.startswith("data.groups")] == []
    (more,) = compose(["data.groups=3", "strategy=direct"])
    assert "data.groups=3" in more.words


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["data.groups=0"], "data.groups=0 is too small"),
        (["data.groups=[]"], "data.groups=[] is not valid"),
        (["data.groups=1.5"], "data.groups=1.5 is not valid"),
        (["data.groups=[wings]"], "data.groups=wings is not in my_data"),
        (["data=davis", "data.clips=[dog]", "data.groups=[dog]"], "give one of them"),
    ],
)
def test_what_can_not_be_asked_for_is_one_sentence(tmp_path: Path, words: list[str], named: str) -> None:
    draw(tmp_path / "my_data", targets=2)
    ended = run_here(
        tmp_path, *(word for word in WORDS if word.partition("=")[0] != words[0].partition("=")[0]), *words
    )
    assert ended.returncode == 2
    assert named in complaint(ended.stderr)


def test_what_the_disk_has_no_room_for_is_told_before_it_is_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "my_data", targets=2)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    ended = run_here(tmp_path, *WORDS)
    assert ended.returncode == 2
    assert "lower targets= or data.groups=" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert [row["status"] for run in runs(tmp_path / "results") for row in summary(run)] == ["skipped"]
