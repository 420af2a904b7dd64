"""A run that was cut off is read and gone on with: what is finished stays byte for byte, the rest is measured.

Runs inline; `tests/harness/isolate/test_faults.py` cuts off real ones.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.result import PointResult
from harness.row import Row
from harness.store import identity
from harness.store.results import RunFolder
from tests.support.harness_runs import TINY, exit_code, only_run, row, run_here, runs, strict_json, summary

pytestmark = pytest.mark.slow

FLAKY = '''
from pathlib import Path

from strategies import Direct


class Flaky(Direct):
    """Works as soon as somebody mends it."""

    def _predict(self, targets):
        if not Path("mended").exists():
            raise ZeroDivisionError("the third bolt is loose")
        return super()._predict(targets)
'''


class Place:
    """A folder with a strategy of the user's, that breaks until the file ``mended`` is there, and with results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"

    def write_strategy(self) -> None:
        (self.folder / "flaky_strategies.py").write_text(FLAKY)
        yaml = self.folder / "my_conf" / "strategy" / "flaky.yaml"
        yaml.parent.mkdir(parents=True)
        yaml.write_text("_target_: flaky_strategies.Flaky\n")

    def options(self, *more: str) -> list[str]:
        search = f"hydra.searchpath=[file://{self.folder / 'my_conf'}]"
        quick = ("paired=false", "compare=false", "targets=2", "refs=1", "objects=1")
        return [search, "strategy=direct,flaky,sequential", "batch=2", *TINY, *quick, *more]

    def sweep(self, *more: str) -> int:
        """In this process, in the folder that the test is in."""
        return exit_code(*self.options(*more))

    def states(self, run_folder: Path | None = None) -> dict[str, str]:
        """Status by strategy."""
        return {line["strategy"]: line["status"] for line in summary(run_folder or only_run(self.results))}

    def stored(self, run_folder: Path | None = None) -> dict[str, tuple[bytes, int]]:
        """Content of each point's file and when it was written, by strategy."""
        files = sorted(((run_folder or only_run(self.results)) / "points").glob("*.json"))
        return {path.name.split("-")[0]: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


ALL_OK = {"direct": "ok", "flaky": "ok", "sequential": "ok"}


@pytest.fixture(scope="module")
def failed_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A run of three points, one of which failed. Only read; see `place`."""
    place = Place(tmp_path_factory.mktemp("original"))
    place.write_strategy()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.folder)
        patch.syspath_prepend(place.folder)
        assert place.sweep("pictures=1") == 1
        yield place


@pytest.fixture(scope="module")
def completed_once(failed_once: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The same run after the strategy was mended and the run resumed. Only read; see `completed`."""
    with pytest.MonkeyPatch.context() as patch:
        place = copied(failed_once, tmp_path_factory.mktemp("completed"), patch)
        assert place.sweep("resume=true") == 0
    return place


@pytest.fixture
def place(failed_once: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of the run of which a point failed, with the strategy mended."""
    return copied(failed_once, tmp_path, monkeypatch)


@pytest.fixture
def completed(completed_once: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return copied(completed_once, tmp_path, monkeypatch)


def copied(original: Place, folder: Path, patch: pytest.MonkeyPatch) -> Place:
    """A copy, times included, with the strategy mended, as the working directory."""
    shutil.copytree(original.folder, folder, dirs_exist_ok=True, symlinks=True)
    (folder / "mended").touch()
    patch.chdir(folder)
    return Place(folder)


# --- what is run again ---------------------------------------------------------------------------------------------


def test_resume_tries_failures_again_and_leaves_what_is_ok_as_it_is(failed_once: Place, completed_once: Place) -> None:
    assert failed_once.states() == {"direct": "ok", "flaky": "crash", "sequential": "ok"}
    assert completed_once.states() == ALL_OK
    before, after = failed_once.stored(), completed_once.stored()
    assert after["direct"] == before["direct"]
    assert after["sequential"] == before["sequential"]
    assert after["flaky"] != before["flaky"]


def test_a_failure_that_stays_keeps_exit_code_1(place: Place) -> None:
    (place.folder / "mended").unlink()
    before = place.stored()
    assert place.sweep("resume=true") == 1
    assert place.states() == {"direct": "ok", "flaky": "crash", "sequential": "ok"}
    assert place.stored()["direct"] == before["direct"]


def test_options_that_do_not_change_what_is_measured_leave_everything(completed: Place) -> None:
    before = completed.stored()
    assert completed.sweep("resume=true", "timeout=5", "isolation=spawn", f"results={completed.results}") == 0
    assert completed.stored() == before


def test_an_option_that_changes_what_is_measured_measures_a_point_anew(place: Place) -> None:
    before = set(place.stored().values())
    folder = only_run(place.results)
    names = {line["point"] for line in summary(folder)}
    assert place.sweep("resume=true", "strategy=direct", "timing.min_rounds=2") == 0, "no failure was asked for"
    (new,) = {line["point"] for line in summary(folder)} - names
    assert new.startswith("direct-")
    (folder / "points" / f"{new}.json").unlink()
    assert set(place.stored().values()) == before


def test_more_points_are_added_to_those_that_are_there(place: Place) -> None:
    before = place.stored()
    assert place.sweep("resume=true", "strategy=direct,rebuild") == 0
    assert place.states() == {"direct": "ok", "flaky": "crash", "rebuild": "ok", "sequential": "ok"}
    after = place.stored()
    assert {name: after[name] for name in before} == before


def test_code_of_the_users_that_has_changed_is_measured_again_and_nothing_else(
    completed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = completed.stored()
    with (completed.folder / "flaky_strategies.py").open("a") as file:
        file.write("\n# A faster way, perhaps.\n")
    # Another command would hash and import it anew.
    monkeypatch.setattr(identity, "_code", identity._code.__wrapped__)
    monkeypatch.delitem(sys.modules, "flaky_strategies")
    done = run_here(completed.folder, *completed.options("resume=true"))
    assert done.returncode == 0, done.stderr
    assert "2 of 3 points have their results already" in done.stderr
    after = completed.stored()
    assert after["flaky"] != before["flaky"]
    assert {after[name] == before[name] for name in ("direct", "sequential")} == {True}


# --- which run is resumed ------------------------------------------------------------------------------------------


def test_a_run_is_resumed_by_the_link_to_it(place: Place) -> None:
    folder = only_run(place.results)
    before = place.stored()
    assert place.sweep("resume=results/latest") == 0
    assert only_run(place.results) == folder
    assert place.states() == ALL_OK
    assert place.stored()["direct"] == before["direct"]


def test_a_run_that_was_moved_is_resumed_where_it_is(place: Place) -> None:
    folder = only_run(place.results).rename(place.folder / "my best run")
    assert place.sweep("resume='my best run'") == 0
    assert place.states(folder) == ALL_OK
    assert runs(place.results) == []


@pytest.mark.parametrize("named", ["results", "nowhere", "my_conf"])
def test_a_folder_that_is_no_run_is_refused(place: Place, capsys: pytest.CaptureFixture[str], named: str) -> None:
    assert place.sweep(f"resume={named}") == 2
    assert f"resume={named} is not the folder of a run" in capsys.readouterr().err
    assert place.states()["flaky"] == "crash"


def test_true_goes_on_with_the_newest_run(place: Place) -> None:
    newest = only_run(place.results)
    older = newest.with_name(f"20200101-000000-000000-{newest.name.split('-', 3)[3]}")
    shutil.copytree(newest, older)
    before = place.stored(older)
    assert place.sweep("resume=true") == 0
    assert place.states(newest) == ALL_OK
    assert place.stored(older) == before
    assert (place.results / "latest").resolve() == newest


def test_true_goes_on_with_the_last_run_where_the_clock_was_wrong(place: Place) -> None:
    last = only_run(place.results)
    of_tomorrow = last.with_name(f"20990101-000000-000000-{last.name.split('-', 3)[3]}")
    shutil.copytree(last, of_tomorrow)
    assert place.sweep("resume=true", "strategy=direct") == 0
    assert (place.results / "latest").resolve() == last.resolve()


def test_true_goes_on_with_a_run_of_the_same_name_only(place: Place) -> None:
    before = place.stored()
    first = only_run(place.results)
    other = first.with_name("20990101-000000-000000-not-mine")
    shutil.copytree(first, other)
    assert place.sweep("resume=true", "name=mine", "strategy=direct") == 0
    (new,) = set(runs(place.results)) - {first, other}
    assert new.name.endswith("-mine")
    assert place.states(new) == {"direct": "ok"}
    assert place.stored(first) == place.stored(other) == before


def test_true_with_nothing_to_resume_begins_a_run(place: Place) -> None:
    shutil.rmtree(place.results)
    assert place.sweep("resume=true", "strategy=direct") == 0
    assert place.states() == {"direct": "ok"}


def test_without_resume_every_sweep_is_a_run_of_its_own(place: Place) -> None:
    before = place.stored()
    assert place.sweep("strategy=direct") == 0
    first, second = runs(place.results)
    assert place.stored(first) == before
    assert place.states(second) == {"direct": "ok"}


# --- files that were cut off ---------------------------------------------------------------------------------------


def files_of(run_folder: Path) -> list[Path]:
    return sorted(path for path in run_folder.rglob("*") if path.is_file())


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def test_whichever_file_is_cut_off_wherever_the_run_opens_and_loses_that_point_at_most(place: Place) -> None:
    folder = only_run(place.results)
    whole = {line.point: line for line in RunFolder(folder).rows}
    assert len(whole) == 3
    for path in files_of(folder):
        content = path.read_bytes()
        for size in sorted({0, 1, len(content) // 2, len(content) - 2, len(content) - 1}):
            cut(path, size)
            rows = {line.point: line for line in RunFolder(folder).rows}
            assert all(whole[name] == line for name, line in rows.items())
            assert set(whole) - set(rows) <= {path.stem}, f"{path} cut to {size} bytes"
        path.write_bytes(content)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=st.floats(0, 1), extra=st.binary(max_size=8))
def test_a_points_file_that_was_cut_off_or_overwritten_anywhere_is_its_own_result_or_none(
    failed_once: Place, tmp_path: Path, part: float, extra: bytes
) -> None:
    original = next((only_run(failed_once.results) / "points").glob("direct*.json"))
    content = original.read_bytes()
    damaged = tmp_path / "run" / "points" / original.name
    damaged.parent.mkdir(parents=True, exist_ok=True)
    damaged.write_bytes(content[: int(part * len(content))] + extra)
    assert RunFolder(tmp_path / "run").rows in ([], [Row.from_json(strict_json(original)["row"])])


@pytest.mark.parametrize(
    "content",
    [
        *(
            "",
            "null",
            "[]",
            "7",
            '"row"',
            "{}",
            '{"row": {}}',
            '{"row": [], "config": {}, "samples": [], "details": {}}',
        ),
        '{"row": {"point": ["a"], "status": "ok"}, "config": {}, "samples": [], "details": {}}',
        '{"row": {"status": "ok"}, "config": {}, "samples": [], "details": {}}',
        '{"row": {"point": "a", "status": "ok"}, "config": {}, "samples": [{"speed": 1}], "details": {}}',
    ],
)
def test_a_file_that_is_no_result_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    run_folder = RunFolder(tmp_path / "run")
    run_folder.add(PointResult(row=Row(**row("one")), config={}))
    (run_folder.path / "points" / "two.json").write_text(content)
    assert [line.point for line in RunFolder(run_folder.path).rows] == ["one"]


def test_a_run_with_every_kind_of_file_cut_off_is_completed(completed: Place) -> None:
    folder = only_run(completed.results)
    before = completed.stored()
    for name in ("summary.csv", "plan.json", "environment.json"):
        cut(folder / name, (folder / name).stat().st_size // 2)
    (point,) = (folder / "points").glob("direct*.json")
    cut(point, point.stat().st_size - 2)
    assert completed.sweep("resume=true", "reporter=report.write_report") == 0
    assert completed.states() == ALL_OK
    after = completed.stored()
    assert after["direct"] != before["direct"]
    assert {after[name] == before[name] for name in ("flaky", "sequential")} == {True}
    assert [strict_json(folder / name) for name in ("plan.json", "environment.json")]
    assert "ok" in (folder / "report.md").read_text(encoding="utf-8")


def test_a_summary_that_was_not_written_any_more_is_made_from_the_points(place: Place) -> None:
    folder = only_run(place.results)
    whole = (folder / "summary.csv").read_bytes()
    (folder / "summary.csv").unlink()
    (place.folder / "mended").unlink()
    RunFolder(folder).write_summary()
    assert (folder / "summary.csv").read_bytes() == whole


def test_what_a_killed_run_left_half_written_beside_its_files_disturbs_nothing(place: Place) -> None:
    folder = only_run(place.results)
    point = next((folder / "points").glob("flaky*.json"))
    left = [
        folder / ".summary.csv.partial",
        folder / "points" / f".{point.name}.partial",
        place.results / f".latest-{folder.name}",
    ]
    for path in left:
        path.write_text('{"row": {"po')
    (place.results / "latest").unlink()
    assert len(RunFolder(folder).rows) == 3
    assert place.sweep("resume=true") == 0
    assert place.states() == ALL_OK
    assert not any(path.exists() for path in left)
    assert (place.results / "latest").resolve() == folder.resolve()


def test_pictures_that_a_killed_run_left_half_written_are_made_anew(place: Place) -> None:
    folder = only_run(place.results)
    (scene,) = (folder / "pictures").iterdir()
    pictures = {path.relative_to(scene): path.read_bytes() for path in scene.rglob("*.png")}
    (scene / "0" / "target0.png").unlink()
    (scene / "0" / ".target0.png.partial").write_bytes(b"\x89PNG")
    for path in (*scene.glob("*.json"), *(folder / "points").iterdir()):
        path.unlink()
    assert place.sweep("resume=true") == 0
    again = {path.relative_to(scene): path.read_bytes() for path in scene.rglob("*.png") if "flaky" not in path.name}
    assert again == pictures
    assert len(list(scene.glob("*.json"))) == 3


# --- odd but true --------------------------------------------------------------------------------------------------


def test_names_of_files_that_are_no_text_are_stored_and_read_back(tmp_path: Path) -> None:
    reason = "FileNotFoundError: no picture 'b\udcffd.png'"
    content: dict[str, Any] = {"data": {"root": "pictures\udc80"}}
    run_folder = RunFolder(tmp_path / "run")
    result = PointResult(row=Row(**row("one", status="crash", reason=reason)), config=content)
    run_folder.add(result, identity={"code": "0"})
    assert RunFolder(run_folder.path).rows == run_folder.rows
    assert json.loads((run_folder.path / "points" / "one.json").read_bytes())["config"] == content
    assert r"b\udcffd.png" in summary(run_folder.path)[0]["reason"]
