"""The gate's command line: it finds what was injected, on just those points, and passes without.

Runs inline, with strategies that move a clock of their own, so nothing here depends on how busy the machine is; one
test has real processes and real time.
"""

from __future__ import annotations

import json
import random
import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.gate.check import advice, main, most_times
from harness.gate.rule import Finding
from harness.gate.snapshot import load, store
from harness.options.config import CheckConfig, TimingConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.row import Row
from harness.stats.interval import Interval, judge, quotient
from harness.store.history import NAME, trends
from harness.store.results import RunFolder
from tests.support.check_runs import BENCH, environment, ticking_strategies
from tests.support.harness_runs import TINY, complaint, point, row, run_here, strict_json, summary

EVERY = {"ticking b1 o2", "ticking b3 o2", "loose b1 o2", "loose b3 o2"}
"""Points of `GRID`, in short."""
GRID = (
    *("strategy=ticking,loose", "strategy@baseline=ticking_baseline", "batch=1,3", "objects=2"),
    *("data.groups=1", "data.parts=2", "targets=3", "pictures=0", "isolation=inline", "reporter=null"),
    *("timing.min_seconds=0", "timing.max_seconds=1", "timing.warmup_seconds=0", "timing.processes=1"),
    "check.margins.memory=9",  # the tests' own process grows
)


NO_GRID = ("strategy=direct", "objects=1")
"""Options for commands that measure nothing."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A folder with the ticking strategies, that the test is in."""

    folder: Path
    search: str

    def judge(self, *more: str) -> int:
        """Check a run that exists, with the smallest grid, as one is composed all the same."""
        return main([*NO_GRID, *more])

    def check(self, *more: str) -> int:
        named = {word.partition("=")[0] for word in more}
        return main([self.search, *(word for word in GRID if word.partition("=")[0] not in named), *more])

    @property
    def snapshots(self) -> list[Path]:
        return sorted((self.folder / "results" / "baselines").iterdir())

    @property
    def latest(self) -> Path:
        return (self.folder / "results" / "latest").resolve()

    def cases(self) -> dict[tuple[str, str], str]:
        """Return ``failure``, ``skipped`` or ``passed`` of the last run's JUnit XML, by point in short and quantity."""
        return junit_cases(self.latest / "junit.xml")

    def unsettled(self) -> dict[tuple[str, str], str]:
        return {case: state for case, state in self.cases().items() if state != "passed"}


def junit_cases(path: Path) -> dict[tuple[str, str], str]:
    found = {}
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        words = str(case.get("classname")).split()
        key = " ".join(word.replace("batch=", "b").replace("objects=", "o") for word in words[:3])
        found[key, str(case.get("name"))] = case[0].tag if len(case) else "passed"
    return found


@contextmanager
def ticking(patch: pytest.MonkeyPatch) -> Iterator[None]:
    """The harness's clock is the one that the strategies move; nothing is throttled or flipped."""
    patch.setattr("harness.measure.point.device_clock", lambda device: BENCH.clock)
    patch.setattr("harness.measure.point.measure_matrix_rate", lambda *_: 1e9)  # moves no clock
    patch.setattr("harness.measure.point.measure_copy_rate", lambda *_: 1e9)
    BENCH.noise = random.Random(0)
    BENCH.throttled, BENCH.flipped = {}, set()
    yield
    BENCH.throttled, BENCH.flipped = {}, set()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ticking(monkeypatch):
        yield


@pytest.fixture(scope="module")
def with_snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a check that wrote a snapshot; to be copied."""
    folder = tmp_path_factory.mktemp("snapshot")
    with pytest.MonkeyPatch.context() as patch, ticking(patch):
        patch.chdir(folder)
        assert Place(folder=folder, search=ticking_strategies(folder)).check("--update") == 0
    return folder / "results"


@pytest.fixture
def place(with_snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: None) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    shutil.copytree(with_snapshot, tmp_path / "results", symlinks=True)
    return Place(folder=tmp_path, search=ticking_strategies(tmp_path))


@pytest.mark.slow
def test_without_a_change_it_passes(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert place.check() == 0
    assert place.unsettled() == {}
    points = {point for point, _ in place.cases()}
    assert points == EVERY
    quantities = {quantity for _, quantity in place.cases()}
    assert quantities == {"status", "speedup", "iou_mean", "iou_min", "jf", "peak_rss_mb"}
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "pass: 24 pass"


@pytest.mark.slow
def test_a_slow_down_by_20_percent_and_a_flipped_mask_fail_on_just_those_points(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    BENCH.throttled[3, 2] = 1.2
    BENCH.flipped.add((1, 2))
    capsys.readouterr()
    assert place.check() == 1
    found = place.unsettled()
    assert set(found.values()) == {"failure"}
    assert found.keys() - {("loose b1 o2", "jf")} == {  # one mask of three, in a score that may hardly notice
        ("ticking b3 o2", "speedup"),
        ("loose b3 o2", "speedup"),
        ("ticking b1 o2", "status"),
        ("loose b1 o2", "iou_mean"),
        ("loose b1 o2", "iou_min"),
    }
    slow = float(row_of(place, "ticking", batch=3, objects=2)["speedup"])
    assert slow == pytest.approx(4 / 1.2, rel=0.02)
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("regressed: ")
    text = (place.latest / "check.md").read_text(encoding="utf-8")
    assert "| regressed | ticking batch=3 | speedup |" in text
    why = f"wrong: {row_of(place, 'ticking', batch=1, objects=2)['reason']}; ok in the snapshot"
    assert f"| regressed | ticking batch=1 | status |  |  |  |  | {why} |" in text


def row_of(place: Place, strategy: str, *, batch: int, objects: int) -> dict[str, str]:
    wanted = (strategy, str(batch), str(objects))
    (found,) = [row for row in summary(place.latest) if (row["strategy"], row["batch"], row["objects"]) == wanted]
    return found


@pytest.mark.slow
def test_the_command_that_it_names_finds_the_same_on_that_point_alone(place: Place) -> None:
    BENCH.throttled[3, 2] = 1.2
    assert place.check("strategy=ticking", "check.subset=true") == 1
    command = row_of(place, "ticking", batch=3, objects=2)["command"]
    assert command in (place.latest / "junit.xml").read_text(encoding="utf-8")
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", "harness.check")
    assert main([place.search, *arguments]) == 1
    assert len(summary(place.latest)) == 1
    assert set(place.unsettled()) == {("ticking b3 o2", "speedup"), *missing_but("ticking b3 o2")}


def missing_but(point: str) -> set[tuple[str, str]]:
    """Every other point of the snapshot, as one that was not measured."""
    return {(one, "status") for one in EVERY - {point}}


@pytest.mark.slow
def test_points_that_were_not_measured_leave_it_open_unless_that_is_meant(place: Place) -> None:
    assert place.check("batch=3", "strategy=ticking") == 3
    assert set(place.unsettled()) == missing_but("ticking b3 o2")
    assert place.check("batch=3", "strategy=ticking", "check.subset=true") == 0


# --- what is unclear -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_unclear_is_measured_again_for_longer_and_only_that(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    BENCH.throttled[3, 2] = 1.1  # The slow-down is on the margin itself, so it is unclear.
    assert place.check("strategy=ticking", "check.subset=true", "timing.max_seconds=0.5", "check.retries=2") == 3
    assert place.unsettled()["ticking b3 o2", "speedup"] == "skipped"
    assert capsys.readouterr().err.count("1 of 2 points are unclear and are measured again") == 2
    timings = sorted((options["batch"], options["timing"]["max_seconds"]) for options in configs(place))
    assert timings == [(1, 0.5), (3, 0.5), (3, 1.0), (3, 2.0)]


@pytest.mark.slow
def test_it_measures_for_longer_as_far_as_its_minutes_allow_and_then_says_what_may_help(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    BENCH.throttled[3, 2] = 1.1
    unclear = ("strategy=ticking", "batch=3", "check.subset=true")
    assert place.check(*unclear, "check.minutes=0.01") == 3
    told = capsys.readouterr()
    assert "measured again" not in told.err, "setting up alone would take longer"
    assert "Unclear speed-ups: 1, whose" in told.out
    assert "check.minutes=0.01 now" in told.out
    assert "check.minutes=0.01 now" in (place.latest / "check.md").read_text(encoding="utf-8")
    assert place.check(*unclear, "timeout=33") == 3
    seconds = sorted(one["timing"]["max_seconds"] for one in configs(place))
    assert seconds == [1.0, 2.0, 3.0], "no longer than the timeout lets a point be measured"


def configs(place: Place) -> list[dict[str, Any]]:
    return [strict_json(path)["config"] for path in (place.latest / "points").iterdir()]


@pytest.mark.parametrize(
    ("seconds", "timeout", "times"), [(100.0, None, 2.0), (220.0, None, 8.0), (220.0, 90.0, 3.0), (10.0, None, -2.5)]
)
def test_how_much_longer_depends_on_the_time_that_is_left(seconds: float, timeout: float | None, times: float) -> None:
    two = [point(timing=TimingConfig(min_seconds=0, max_seconds=longest), timeout=timeout) for longest in (20.0, 0.0)]
    assert most_times(two, seconds=seconds) == times
    assert most_times(two[1:], seconds=seconds) == 0, "nothing is no time, however often"


def test_a_snapshot_that_is_too_wide_itself_is_told_apart() -> None:
    narrow, wide = Interval(value=4.0, lo=3.9, hi=4.1), Interval(value=4.0, lo=3.0, hi=5.0)

    def advised(old: Interval, new: Interval) -> list[str]:
        least = 1 / 1.1
        finding = Finding(
            **{"key": "one", "quantity": "speedup", "state": "unclear", "command": ""},  # type: ignore[arg-type]
            **{"old": old, "new": new, "comparison": quotient(new, old), "least": least},  # type: ignore[arg-type]
        )
        return advice([finding], CheckConfig())

    assert len(advised(narrow, wide)) == 1
    assert "the snapshot's own interval" in advised(wide, narrow)[1]


@pytest.mark.slow
def test_what_is_unclear_gets_more_processes_too_where_it_has_several(place: Place) -> None:
    BENCH.throttled[3, 2] = 1.1
    several = ("timing.processes=2", "timing.max_seconds=0.5", "check.retries=1")
    assert place.check("strategy=ticking", "batch=3", "check.subset=true", *several) == 3
    assert sorted(int(line["processes"]) for line in summary(place.latest)) == [2, 4]


@pytest.mark.slow
def test_the_last_attempt_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else keeps the machine busy at first."""
    monkeypatch.setattr("harness.gate.check._longer", quiet_after(1))
    BENCH.throttled[3, 2] = 1.1
    assert place.check("strategy=ticking", "batch=3", "check.subset=true") == 0
    assert len(summary(place.latest)) == 2, "one attempt more"


def quiet_after(attempts: int) -> Any:
    from harness.gate.check import _longer

    def longer(point: Point, times: float, run: Path) -> Point:
        if times == 2.0**attempts:
            BENCH.throttled.clear()
        return _longer(point, times, run)

    return longer


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


@pytest.mark.slow
def test_an_interrupt_judges_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.run_sweep", interrupt)
    assert place.check() == 130
    assert not (place.latest / "junit.xml").exists()


# --- real processes, real time -------------------------------------------------------------------------------------

SLEEPY = '''
import os
import time
from dataclasses import replace

from strategies import Direct


class Sleepy(Direct):
    """Takes four times as long, or flips a mask, where the environment says so."""

    exact = False

    def _predict(self, targets):
        began = time.perf_counter()
        right = super()._predict(targets)
        if os.environ.get("SLOW") == str(len(targets)):
            time.sleep(3 * (time.perf_counter() - began))
        if os.environ.get("FLIPPED") != str(len(targets)):
            return right
        logits = right.logits.clone()
        logits[0, 0] *= -1
        return replace(right, logits=logits)
'''


@pytest.mark.processes
def test_in_processes_of_their_own_it_finds_what_was_injected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleepy_strategies.py").write_text(SLEEPY, encoding="utf-8")
    yaml = tmp_path / "my_conf" / "strategy" / "sleepy.yaml"
    yaml.parent.mkdir(parents=True)
    yaml.write_text("_target_: sleepy_strategies.Sleepy\n", encoding="utf-8")
    rounds = (
        *("timing.min_rounds=6", "timing.max_seconds=60", "timing.width=1e9", "timing.processes=1"),
        *("check.retries=0", "reporter=null"),
    )
    left_out = {one.partition("=")[0] for one in (*rounds, "isolation=")}
    tiny = [word for word in TINY if word.partition("=")[0] not in left_out]
    grid = [f"hydra.searchpath=[file://{tmp_path / 'my_conf'}]", "strategy=sleepy", "batch=1,3", *tiny, *rounds]
    made = run_here(tmp_path, "--update", *grid, "isolation=inline", command=main)
    assert made.returncode == 0, made.stderr
    monkeypatch.setenv("SLOW", "3")
    monkeypatch.setenv("FLIPPED", "1")
    done = run_here(tmp_path, *grid, command=main)
    assert done.returncode == 1, done.stdout + done.stderr
    cases = junit_cases((tmp_path / "results" / "latest" / "junit.xml").resolve())
    masks = {case: state for case, state in cases.items() if case[1] in ("status", "iou_mean", "iou_min")}
    flipped = {("sleepy b1 o2", "iou_mean"), ("sleepy b1 o2", "iou_min")}
    assert {case for case, state in masks.items() if state == "failure"} == flipped
    # A quarter of the speed is no luck, but on a busy machine the interval may be too wide to say so.
    (snapshot,) = (tmp_path / "results" / "baselines").iterdir()
    old, new = load(snapshot), load((tmp_path / "results" / "latest").resolve())
    (key,) = [key for key in old.points if "batch=3" in key]
    before, now = old.points[key].speedup, new.points[key].speedup
    assert before is not None
    assert now is not None
    assert now.value < before.value
    expected = {"pass": "passed", "regressed": "failure", "unclear": "skipped"}
    (slow,) = [state for case, state in cases.items() if case == ("sleepy b3 o2", "speedup")]
    assert slow == expected[judge(quotient(now, before), least=1 / 1.1)]
