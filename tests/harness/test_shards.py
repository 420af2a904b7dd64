"""A sweep in parts, ``shard=2/8``: several machines measure points of one run at the same time, into one folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli import measured
from harness.commands.collect import main as collect
from harness.options.shards import FOLDER, Shard
from harness.store.lock import locked
from harness.store.parts import part_held, pending_names
from strategies.errors import UserError
from tests.support.commands import start
from tests.support.harness_runs import (
    REPORTED,
    TINY,
    complaint,
    exit_code,
    point,
    processes_in,
    row,
    run_here,
    strict_json,
    summary,
    wait_for,
)
from tests.support.report_runs import ENVIRONMENT, run_folder

QUICK = ("paired=false", "compare=false", "targets=2", "refs=1", "objects=1", "name=big")
SWEEP = ("strategy=direct,sequential", "batch=1,2", *QUICK)


PLAN = [{"point": name, "command": "", "options": {}} for name in ("a", "b")]


def measured_in(run: Path) -> set[str]:
    return {path.stem for path in (run / "points").glob("*.json")}


@pytest.fixture(scope="module")
def first_part(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which the first of two parts was measured, and what that said."""
    folder = tmp_path_factory.mktemp("part")
    ended = run_here(folder, *SWEEP, *REPORTED, "shard=1/2")
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout


@pytest.fixture
def half(first_part: tuple[Path, str], tmp_path: Path) -> Path:
    """The run of which the first half is there, in the test's own folder."""
    shutil.copytree(first_part[0], tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path / "results" / "big"


@given(count=st.integers(0, 60), of=st.integers(1, 20))
def test_all_parts_together_have_everything_once(count: int, of: int) -> None:
    parts = [list(range(count))[shard.stretch(count)] for shard in Shard(number=1, of=of).every()]
    assert [one for part in parts for one in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.slow
def test_parts_measure_the_points_of_the_whole_and_the_last_one_sums_up(
    half: Path, first_part: tuple[Path, str], tmp_path: Path
) -> None:
    run = half
    assert len(measured_in(run)) == 2
    assert "2 points of other parts are pending; python -m harness.collect results/big" in first_part[1]
    assert not (run / "report.md").exists()
    assert not (run / "summary.csv").exists()
    second = run_here(tmp_path, *SWEEP, *REPORTED, "shard=2/2")
    assert second.returncode == 0, second.stderr
    assert "pending" not in second.stdout
    assert (run / "report.html").exists()
    lines = summary(run)
    assert {(line["strategy"], line["batch"], line["status"]) for line in lines} == {
        (strategy, batch, "ok") for strategy in ("direct", "sequential") for batch in ("1", "2")
    }
    assert all("shard=" not in line["command"] for line in lines), "a point is measured again alone"
    planned = [one["point"] for one in json.loads((run / "plan.json").read_text())]
    assert measured_in(run) == set(planned)


@pytest.mark.slow
def test_a_part_that_has_nothing_to_do_says_so_by_its_exit_code_alone(tmp_path: Path) -> None:
    assert run_here(tmp_path, *SWEEP, *TINY, "shard=1/9").returncode == 0
    assert measured_in(tmp_path / "results" / "big") == set()


@pytest.mark.slow
def test_what_is_there_is_collected_and_what_is_pending_is_named(tmp_path: Path) -> None:
    run = tmp_path / "results" / "big"
    assert run_here(tmp_path, *SWEEP, *TINY, "shard=2/3").returncode == 0
    found = run_here(tmp_path, "results/big", command=collect)
    assert found.returncode == 3, found.stderr
    planned = [one["point"] for one in json.loads((run / "plan.json").read_text())]
    (done,) = measured_in(run)
    assert "3 of 4 points are pending" in found.stdout
    assert f"shard=1/3: {planned[0]}" in found.stdout
    assert f"shard=3/3: {planned[2]}, {planned[3]}" in found.stdout
    assert "shard=2/3" not in found.stdout
    assert [line["point"] for line in summary(run)] == [done]
    text = (run / "report.md").read_text()
    assert "3 of 4 points have no result yet; the same parts again (`shard=`) go on with them" in text
    for part in ("1/3", "3/3"):
        assert run_here(tmp_path, *SWEEP, *TINY, f"shard={part}").returncode == 0
    whole = run_here(tmp_path, "results/big", command=collect)
    assert (whole.returncode, len(summary(run))) == (0, 4)
    assert "pending" not in whole.stdout


@pytest.mark.slow
def test_a_part_again_measures_only_what_it_lacks(half: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (half / "points").glob("*.json")}
    lost = sorted(before)[0]
    lost.unlink()
    assert run_here(tmp_path, *SWEEP, *TINY, "shard=1/2").returncode == 0
    now = {path: path.stat().st_mtime_ns for path in (half / "points").glob("*.json")}
    assert {path for path in now if now[path] == before[path]} == set(before) - {lost}
    assert lost in now


@pytest.mark.slow
def test_a_run_in_parts_keeps_out_other_numbers_of_parts_other_points_and_other_devices(
    half: Path, tmp_path: Path
) -> None:
    said = complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=1/3").stderr)
    assert "results/big was begun in 2 parts: give shard=K/2, or resume=results/big without shard=" in said
    said = complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=2/2", "seed=7").stderr)
    assert "results/big holds another sweep, of 4 other points: give another name=" in said
    environment = strict_json(half / "environment.json")
    (half / "environment.json").write_text(json.dumps(environment | {"device": "another card"}))
    said = complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=2/2").stderr)
    assert "results/big is measured on another card, and this is" in said
    assert len(measured_in(half)) == 2


@pytest.mark.slow
def test_the_same_part_runs_once_at_a_time_and_other_parts_meanwhile(tmp_path: Path) -> None:
    run = tmp_path / "results" / "big"
    with locked(Shard(number=1, of=2).folder(run)):
        said = complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=1/2").stderr)
        assert "is being measured by process" in said
        assert "give another shard=" in said
        assert run_here(tmp_path, *SWEEP, *TINY, "shard=2/2").returncode == 0
    with locked(run):
        assert "is being measured" in complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=1/2").stderr)


@pytest.mark.parametrize("shard", ["0/8", "9/8", "x", "1", "1/0", "-1/2", "1/2/3", "'1/2 '"])
def test_a_part_that_is_none_is_one_sentence(tmp_path: Path, shard: str) -> None:
    ended = run_here(tmp_path, *SWEEP, *TINY, f"shard={shard}")
    assert ended.returncode == 2
    assert "is not valid: give a part and their number, as shard=1/16" in complaint(ended.stderr)
    assert not (tmp_path / "results").exists()


def test_commands_that_need_all_points_take_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    asked = replace(point(shard="1/2", results=str(tmp_path)), module="harness.check")
    with pytest.raises(UserError, match=r"is for python -m harness and not for harness\.check"):
        measured([asked])


def test_a_folder_in_which_another_part_is_about_to_begin_is_entered(tmp_path: Path) -> None:
    run = tmp_path / "big"
    for number in (1, 2):
        with (
            locked(run, shared=True),
            part_held(run, Shard(number=number, of=2), plan=PLAN, environment=ENVIRONMENT),
        ):
            assert Shard(number=number, of=2).folder(run).is_dir()
            (run / FOLDER / f"{number}-of-2" / ".lock").stat()
        shutil.rmtree(run)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"device": "a card"}, "is measured on a processor, and this is a card"),
        (
            {"threads": 8},
            "is measured with 1 threads, and here torch has 8: set OMP_NUM_THREADS=1, or",
        ),
    ],
    ids=str,
)
def test_a_part_of_another_machine_that_begins_at_the_same_moment_is_refused(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    first, second = (Shard(number=number, of=2) for number in (1, 2))
    with (
        part_held(tmp_path / "big", first, plan=PLAN, environment=ENVIRONMENT),
        pytest.raises(UserError, match=said),
        part_held(tmp_path / "big", second, plan=PLAN, environment=ENVIRONMENT | changed),
    ):
        pass


@pytest.mark.parametrize("name", ["plan.json", "environment.json"])
def test_points_are_not_added_to_those_of_which_nobody_knows_what_they_are(tmp_path: Path, name: str) -> None:
    run, shard = tmp_path / "big", Shard(number=1, of=2)
    with part_held(run, shard, plan=PLAN, environment=ENVIRONMENT):
        run_folder(run, [row("a")])
    (run / name).write_text("{")
    with (
        pytest.raises(UserError, match=r"has points, and its plan\.json or environment\.json can't be read"),
        part_held(run, shard, plan=PLAN, environment=ENVIRONMENT),
    ):
        pass


@pytest.mark.parametrize(("processes", "pending"), [(1, ["a", "b"]), (3, ["b"])])
def test_a_point_of_which_some_processes_are_missing_is_pending(
    tmp_path: Path, processes: int, pending: list[str]
) -> None:
    with part_held(tmp_path / "big", Shard(number=1, of=2), plan=PLAN, environment=ENVIRONMENT):
        run_folder(tmp_path / "big", [row("a", processes=processes)], config={"timing": {"processes": 3}})
    assert pending_names(tmp_path / "big") == pending


@pytest.mark.parametrize("name", ["latest", ".", "..", "''"])
def test_a_run_in_parts_has_a_folder_of_its_own(tmp_path: Path, name: str) -> None:
    said = complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=1/2", f"name={name}").stderr)
    assert "can't be that of a run in parts" in said
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
def test_the_latest_run_is_collected_by_its_link_and_one_by_where_its_reader_is(tmp_path: Path) -> None:
    run, link = run_folder(tmp_path / "results" / "mine", [row("a")]), tmp_path / "results" / "latest"
    for place in (str(link), "."):
        assert run_here(run, place, command=collect).returncode == 0
        assert link.readlink() == Path("mine")
    assert not (run / "history.sqlite").exists()
    assert (link.parent / "history.sqlite").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "results" / "big"
    place.parent.mkdir()
    if kind == "file":
        place.write_text("mine")
    elif kind == "link":
        place.symlink_to(tmp_path)
    else:
        place.mkdir()
        (place / "letter.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    said = complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=1/2").stderr)
    assert "results/big is there and holds no run in parts" in said
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "tmp"] == before


def test_a_part_and_a_folder_to_resume_exclude_each_other(tmp_path: Path) -> None:
    said = complaint(run_here(tmp_path, *SWEEP, *TINY, "shard=1/2", "resume=results/other").stderr)
    assert "leave out resume=" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["results/none"], "results/none holds no finished point"),
        ([], "give the folder of one run"),
        (["a", "b"], "give the folder of one run"),
        (["--all"], "give the folder of one run"),
    ],
    ids=str,
)
def test_what_can_not_be_collected_is_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    ended = run_here(tmp_path, *words, command=collect)
    assert ended.returncode == 2
    assert said in complaint(ended.stderr)


@pytest.mark.slow
def test_an_undivided_run_is_collected_too(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        assert exit_code("strategy=direct", "batch=1", *QUICK, *TINY) == 0
    run = str((tmp_path / "results" / "latest").resolve())
    assert run_here(tmp_path, run, command=collect).returncode == 0
    assert (Path(run) / "report.md").exists()


@pytest.mark.slow
@pytest.mark.processes
def test_two_parts_at_once_are_one_run_and_a_part_that_was_killed_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "results" / "big"
    isolations = ("fork", "inline")
    parts = [start(tmp_path, *SWEEP, *TINY, f"isolation={isolations[part]}", f"shard={part + 1}/2") for part in (0, 1)]
    wait_for(lambda: len(measured_in(run)) >= 1, seconds=300)
    parts[0].kill()
    parts[0].communicate()
    _, err = parts[1].communicate(timeout=300)
    assert parts[1].returncode == 0, err
    wait_for(lambda: processes_in(tmp_path) == [])
    again = run_here(tmp_path, *SWEEP, *TINY, "shard=1/2")
    assert again.returncode == 0, again.stderr
    assert len(measured_in(run)) == 4
    assert {line["status"] for line in summary(run)} == {"ok"}
    assert len(summary(run)) == 4
    shutil.rmtree(run / FOLDER)
