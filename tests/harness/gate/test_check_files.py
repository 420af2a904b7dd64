"""The gate's files: runs that are there, snapshots that are written or broken, and where findings are shown."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.gate.check import main
from harness.gate.snapshot import load, store
from harness.result import PointResult
from harness.row import Row
from harness.store.history import NAME, trends
from harness.store.results import RunFolder
from tests.support.check_runs import BENCH, NO_GRID, Place, environment, junit_cases
from tests.support.harness_runs import complaint, point, row, strict_json

# --- judging what is there -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_is_there_is_judged_without_measuring(place: Place) -> None:
    BENCH.throttled[3, 2] = 1.2
    assert place.check() == 1
    slow, before = place.latest, sorted(place.folder.glob("results/*/points/*.json"))
    (slow / "junit.xml").unlink()
    assert place.judge(f"check.run={slow}", "check.margins.memory=9") == 1
    assert junit_cases(slow / "junit.xml")["ticking b3 o2", "speedup"] == "failure"
    assert place.judge(f"check.run={slow}", f"check.snapshot={slow}") == 0, "a run against itself"
    assert place.judge(f"check.run={slow}", "check.margins.speedup=0.5", "check.margins.memory=9") == 0
    assert sorted(place.folder.glob("results/*/points/*.json")) == before


@pytest.mark.slow
def test_another_machines_snapshot_serves_where_it_is_the_only_one(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (own,) = place.snapshots
    own.rename(own.with_name("another.json"))
    content = own.with_name("another.json").read_text(encoding="utf-8")
    device = strict_json(own.with_name("another.json"))["environment"]["device"]
    own.with_name("another.json").write_text(content.replace(device, "another processor"), encoding="utf-8")
    assert place.judge(f"check.run={place.latest}") == 0
    assert "That is another device than" in capsys.readouterr().out
    assert "peak_rss_mb" not in {quantity for _, quantity in place.cases()}


@pytest.mark.slow
def test_what_the_snapshot_was_made_with_is_shown_where_it_differs(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (own,) = place.snapshots
    threads = strict_json(own)["environment"]["threads"]
    text = own.read_text(encoding="utf-8").replace(f'"threads": {threads}', '"threads": 99')
    own.write_text(text, encoding="utf-8")
    assert place.judge(f"check.run={place.latest}") == 0
    assert f"Made with threads 99, now {threads}." in capsys.readouterr().out


# --- the snapshot --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_update_writes_a_new_snapshot_and_shows_what_it_changes(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    BENCH.throttled[3, 2] = 1.2
    before = load(place.snapshots[0])
    capsys.readouterr()
    assert place.check("--update", "strategy=ticking") == 0
    out = capsys.readouterr().out
    assert f"snapshot written: {Path('results') / 'baselines' / place.snapshots[0].name}" in out
    table = [line for line in out.splitlines() if "ticking batch=3" in line and "speedup" in line]
    assert "regressed" in table[0]
    assert sum("missing" in line and "loose" in line for line in out.splitlines()) == 2
    after = load(place.snapshots[0])
    (key,) = [key for key in after.points if key.startswith("ticking batch=3 objects=2")]
    (old, new) = (one.points[key].speedup for one in (before, after))
    assert old is not None
    assert new is not None
    assert new.value / old.value == pytest.approx(1 / 1.2, rel=0.02)
    assert len(after.points) == 2
    assert place.check("strategy=ticking") == 0


@pytest.mark.slow
def test_an_update_with_points_that_end_badly_is_written_and_not_green(place: Place) -> None:
    BENCH.flipped.add((1, 2))
    assert place.check("--update", "strategy=ticking") == 1
    assert sorted(point.status for point in load(place.snapshots[0]).points.values()) == ["ok", "wrong"]
    assert place.check("strategy=ticking") == 0, "as in the snapshot"


@pytest.mark.slow
def test_update_takes_a_run_that_exists_and_writes_where_it_should(place: Place) -> None:
    assert place.judge("--update", f"check.run={place.latest}", "check.snapshot=there/mine.json") == 0
    assert load(place.folder / "there" / "mine.json").points == load(place.snapshots[0]).points
    assert len(list((place.folder / "results").glob("*-check"))) == 1


@pytest.mark.slow
def test_a_snapshot_that_can_not_be_written_names_the_run_to_take_it_of(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert place.judge("--update", f"check.run={place.latest}", "check.snapshot=/dev/null/mine.json") == 2
    words = f"give --update check.run={place.latest} with check.snapshot=FILE"
    assert words in complaint(capsys.readouterr().err)


@pytest.mark.slow
def test_update_replaces_a_damaged_snapshot(place: Place) -> None:
    place.snapshots[0].write_text("{", encoding="utf-8")
    assert place.judge("--update", f"check.run={place.latest}") == 0
    assert len(load(place.snapshots[0]).points) == 4


# --- where it is shown ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_summary_is_appended_where_github_asks_for_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    file = place.folder / "step.md"
    file.write_text("before\n", encoding="utf-8")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(file))
    assert place.judge(f"check.run={place.latest}") == 0
    assert file.read_text(encoding="utf-8") == "before\n" + (place.latest / "check.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_checks_are_in_the_history(place: Place) -> None:
    (snapshot,) = place.snapshots
    kept = load(snapshot)
    found = trends(place.folder / "results" / NAME, device=kept.device, threads=kept.environment.threads)
    for key in kept.points:
        (entry,) = found[key]
        assert entry.run == place.latest.name


# --- bad input -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "write one with --update"),
        (["check.snapshot=nowhere.json"], "nowhere.json can't be read"),
        (["check.run=nowhere"], "nowhere is not the folder of a run"),
        (["--update", "check.snapshot=."], "is a folder"),
        (["--update", "check.snapshot=/dev/null/mine.json"], "/dev/null/mine.json can't be written (Not a directory)"),
        (["--update", "check.snapshot=/dev/null"], "is no plain file"),
        (["check.margins.speedup=-1"], "check.margins.speedup=-1"),
        (["check.retries=-1"], "check.retries=-1"),
        (["check.minutes=-1"], "check.minutes=-1"),
        (["check.margin.speedup=1"], "check.margin"),
        (["--update", "pictures=0,1"], "a snapshot can't tell apart"),
    ],
)
def test_bad_input_is_one_sentence_and_nothing_is_measured(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*NO_GRID, *arguments]) == 2
    assert words in complaint(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", ["strategy=glob(dirct*)", "batch=range(5,5)"])
def test_a_sweep_of_nothing_is_no_pass(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([words]) == 2
    assert "sweep nothing" in complaint(capsys.readouterr().err)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by hand, of one point, beside a snapshot of it."""
    folder = tmp_path_factory.mktemp("judged")
    run, made = RunFolder(folder / "run"), point()
    run.write_json("environment.json", environment())
    faster = {"reference": "sequential", "speedup": 4.0, "speedup_lo": 3.9, "speedup_hi": 4.1, "verdict": "faster"}
    run.add(PointResult(row=Row(**row(made.name, **faster, iou_mean=0.99)), config=made.options))
    store(load(run.path), folder / "snapshot.json")
    return folder


def set_to(*place: str, to: Any) -> Callable[[Path], None]:
    """Return what changes a value in a snapshot; of a point's, in its only point."""

    def change(path: Path) -> None:
        content = inner = strict_json(path)
        for name in place[:-1]:
            inner = next(iter(inner["points"].values())) if name == "point" else inner[name]
        inner[place[-1]] = to
        path.write_text(json.dumps(content), encoding="utf-8")

    return change


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage",
    [
        *(set_to("environment", "packages", to=value) for value in (None, [], {"torch": 2})),
        *(set_to("made", to=5), set_to("environment", "git_commit", to=3), set_to("points", to=None)),
        *(set_to("point", "iou_mean", to=-5), set_to("point", "speedup", to={"value": 4.0})),
        *(dangle, lambda path: path.write_text("[" * 100_000), lambda path: path.write_bytes(b"\xff")),
    ],
)
def test_a_broken_snapshot_is_bad_input_and_no_regression(
    damage: Callable[[Path], None], judged: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    snapshot = tmp_path / "mine.json"
    shutil.copy(judged / "snapshot.json", snapshot)
    damage(snapshot)
    assert main([*NO_GRID, f"check.run={judged / 'run'}", f"check.snapshot={snapshot}"]) == 2
    assert "mine.json" in complaint(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("speedup", "code"), [({"value": 4.0, "lo": 3.9, "hi": 4.1, "over": "sequential"}, 0), (None, 3)]
)
def test_a_snapshot_without_its_speed_up_is_no_pass(speedup: object, code: int, judged: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "mine.json"
    shutil.copy(judged / "snapshot.json", snapshot)
    set_to("point", "speedup", to=speedup)(snapshot)
    assert main([*NO_GRID, f"check.run={judged / 'run'}", f"check.snapshot={snapshot}"]) == code


def test_a_fault_of_the_gate_is_no_regression(
    judged: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("harness.gate.check.compare", lambda *_: 1 / 0)
    assert main([*NO_GRID, f"check.run={judged / 'run'}", f"check.snapshot={judged / 'run'}"]) == 2
    assert "ZeroDivisionError" in capsys.readouterr().err
