"""The certificate: which comparisons are made, and what is read off their rows."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.commands.certificate import certificate_of
from harness.commands.certify import announcement, main
from harness.commands.comparisons import Comparison, comparisons, limited, timing_of
from harness.commands.neighbour import neighbours
from harness.isolate.isolation import Outcome
from harness.isolate.jobs import Job
from harness.options.config import CertifyConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.row import Row
from harness.store.certificate import Certificate, GateRate, Share, store
from harness.store.results import RunFolder
from harness.sweep import OutOfTimeError
from tests.support.check_runs import environment
from tests.support.harness_runs import TINY, complaint, is_running, point, row, run_here, summary, wait_for

SLOWDOWNS = [0.05, 0.2]
FEW: dict[str, Any] = {"comparisons": 4, "detections": 6, "slowdowns": SLOWDOWNS}


def grid(neighbours: int = 0, **options: Any) -> list[Comparison]:
    return comparisons(point(certify=CertifyConfig(**FEW | {"neighbours": neighbours} | options)))


def kind(made: Comparison) -> str:
    """Which of the lists of rows below a comparison takes."""
    name = "gate" if made.kind == "gate" else f"by_{made.slowdown * 100:.0f}"
    return f"{name}_beside" if made.neighbours else name


def run_with(folder: Path, made: list[Comparison], **rows: Any) -> RunFolder:
    """A run: ``rows`` gives (lo, ratio, hi) and verdict of each comparison of a kind; what it lacks was not made."""
    run = RunFolder(folder / "run")
    run.write_json("environment.json", environment(git_commit="abc"))
    left = {name: list(values) for name, values in rows.items()}
    for one in made:
        if not left.get(kind(one)):
            continue
        lo, ratio, hi, verdict = left[kind(one)].pop(0)
        speed = {"speedup": ratio, "speedup_lo": lo, "speedup_hi": hi, "verdict": verdict}
        named = row(one.point.name, strategy=one.point.strategy, reference=one.point.baseline, **speed)
        run.add(PointResult(row=Row(**named), config={}))
    return run


ALIKE = [(0.98, 1.0, 1.02, "same"), (0.9, 1.0, 1.1, "unclear"), (1.01, 1.06, 1.1, "faster"), (0.97, 1.0, 1.03, "same")]
FOUND = [(0.8, 0.83, 0.86, "slower")] * 6
MISSED = [(0.93, 0.95, 0.97, "slower"), (0.96, 0.97, 0.99, "same"), (0.9, 0.97, 1.03, "unclear")] * 2


def certificate(tmp_path: Path, **rows: Any) -> Certificate:
    made = grid(neighbours=1)
    found = certificate_of(run_with(tmp_path, made, **({"by_0": ALIKE, "by_5": MISSED, "by_20": FOUND} | rows)), made)
    assert found is not None
    return found


def test_a_strategy_meets_itself_and_itself_slowed_down_each_time_in_a_point_of_its_own() -> None:
    made = grid()
    itself = [one for one in made if one.kind == "itself"]
    assert sorted(one.slowdown for one in itself) == [0.0] * 4 + [0.05] * 6 + [0.2] * 6
    assert len({one.point.name for one in made}) == len(made)
    for one in itself:
        config = one.point.config
        assert config.paired
        assert (config.strategy["share"], config.baseline["share"]) == (one.slowdown, 0.0)
        assert config.baseline["strategy"] == config.strategy["strategy"]
    assert len({one.point.workload for one in made}) == 1, "features are made once"


def test_all_is_measured_beside_neighbours_as_well() -> None:
    alone, both = grid(), grid(neighbours=2)
    beside = [one for one in both if one.neighbours]
    assert {one.neighbours for one in beside} == {2}
    assert sorted(map(kind, beside)) == sorted(f"{kind(one)}_beside" for one in alone)
    assert len({one.point.name for one in both}) == len(both) == 2 * len(alone)


def test_wherever_it_ends_as_large_a_part_of_each_kind_is_made() -> None:
    both = grid(neighbours=1, comparisons=8, detections=4)
    for end in range(len(both) + 1):
        shares = [
            sum(kind(one) == name for one in both[:end]) / sum(kind(one) == name for one in both)
            for name in map(kind, both)
        ]
        assert max(shares) - min(shares) <= 0.25, "one comparison of the rarest kind"


def test_the_gate_is_certified_by_measurements_as_it_makes_them() -> None:
    made = [one.point for one in grid() if one.kind == "gate"]
    assert len(made) == 12, "six pairs"
    for one in made:
        assert (one.baseline, one.config.baseline) == ("sequential", point().config.baseline)
        assert one.config.strategy == point().config.strategy
        assert (one.config.timing.width, one.config.timing.max_seconds) == (0.05, 20.0)


def test_an_effect_that_is_asked_for_is_tried_alone_with_longer_timing() -> None:
    made = [one for one in grid(effect=0.03) if one.kind == "itself"]
    assert sorted(one.slowdown for one in made) == [0.0] * 4 + [0.03] * 12, "as many as for two slow-downs"
    usual, asked = point().config.timing, made[0].point.config.timing
    assert asked.width == 0.015
    assert asked.max_seconds > usual.max_seconds
    smaller = timing_of(point(certify=CertifyConfig(effect=0.01)))
    assert smaller.max_seconds > 4 * asked.max_seconds, "noise falls with the root of the time"


def test_what_is_typed_of_timing_goes_before_what_an_effect_needs() -> None:
    typed = point(certify=CertifyConfig(effect=0.03), overrides=["timing.max_seconds=7"])
    assert timing_of(typed).max_seconds == typed.config.timing.max_seconds
    assert timing_of(typed).width == 0.015


def test_it_tells_before_it_begins_how_long_it_takes() -> None:
    text = announcement(grid(neighbours=1), CertifyConfig(minutes=60))
    assert "56 comparisons (28 alone, 28 beside 1 busy process)" in text
    assert "at most 60 min (certify.minutes)" in text
    assert "raise" not in text
    short = announcement(grid(effect=0.01), CertifyConfig(minutes=1))
    assert "at most 60 s" in short
    assert "raise certify.minutes" in short


def test_false_alarms_are_comparisons_with_itself_that_were_called_faster_or_slower(tmp_path: Path) -> None:
    alarms = certificate(tmp_path).false_alarms
    assert (alarms.found, alarms.count, alarms.rate) == (1, 4, 0.25)
    assert alarms.lo < 0.25 < alarms.hi


def test_a_slow_down_is_found_where_the_whole_interval_is_below_1_whatever_the_band(tmp_path: Path) -> None:
    five, twenty = certificate(tmp_path).effects
    assert (five.slowdown, five.detected.found, five.detected.count) == (0.05, 4, 6)
    assert (twenty.slowdown, twenty.detected.found) == (0.2, 6)
    assert five.median_speedup == 0.97


@pytest.mark.slow
def test_the_smallest_is_the_one_from_which_on_nine_of_ten_are_found(tmp_path: Path) -> None:
    assert certificate(tmp_path).smallest_detected == 0.2
    assert certificate(tmp_path, by_5=FOUND).smallest_detected == 0.05
    assert certificate(tmp_path, by_20=MISSED).smallest_detected is None
    assert certificate(tmp_path, by_5=FOUND, by_20=MISSED).smallest_detected is None, "luck is no resolution"
    few = certificate(tmp_path / "few", by_5=[], by_20=FOUND[:5])
    assert few.smallest_detected is None, "nor are a few that were all found"


def test_comparisons_without_an_interval_do_not_count(tmp_path: Path) -> None:
    made = grid()
    run = run_with(tmp_path, made, by_0=[(None, 1.0, None, "unclear")] * 4, by_5=MISSED, by_20=FOUND)
    assert certificate_of(run, made) is None


def test_what_was_not_compared_is_told(tmp_path: Path) -> None:
    part = certificate(tmp_path, by_20=[])
    assert (part.compared, part.planned) == (10, 56)
    assert [one.slowdown for one in part.effects] == [0.05]
    assert part.beside is None
    assert part.gate == []


def test_neighbours_have_rates_of_their_own(tmp_path: Path) -> None:
    both = certificate(tmp_path, by_0_beside=ALIKE[:2], by_20_beside=MISSED[:3])
    assert both.beside is not None
    assert (both.beside.neighbours, both.beside.false_alarms.count) == (1, 2)
    assert [(one.slowdown, one.detected.found) for one in both.beside.effects] == [(0.2, 2)]
    assert both.false_alarms.count == 4


def gate_of(tmp_path: Path, *measurements: tuple[float, float, float, str]) -> dict[float, GateRate]:
    return {one.slowdown: one for one in certificate(tmp_path, gate=measurements).gate}


def test_pairs_of_measurements_show_how_often_the_gate_is_right(tmp_path: Path) -> None:
    narrow = (3.96, 4.0, 4.04, "faster")
    rates = gate_of(tmp_path, *[narrow] * 4)
    assert sorted(rates) == [0.0, 0.05, 0.08, 0.12, 0.2]
    regressed = {slowdown: (one.regressed.found, one.regressed.count) for slowdown, one in rates.items()}
    assert regressed == {0.0: (0, 2), 0.05: (0, 2), 0.08: (0, 2), 0.12: (2, 2), 0.2: (2, 2)}
    passed = {slowdown: one.passed.found for slowdown, one in rates.items()}
    assert passed == {0.0: 2, 0.05: 2, 0.08: 2, 0.12: 0, 0.2: 0}


def test_measurements_that_lie_apart_are_false_alarms_of_the_gate(tmp_path: Path) -> None:
    fast, slow = (4.5, 4.59, 4.7, "faster"), (3.94, 4.0, 4.06, "faster")
    alarms = gate_of(tmp_path, fast, fast, slow, slow)[0.0]
    assert (alarms.regressed.found, alarms.passed.found) == (2, 0)
    wide = (3.0, 4.0, 5.0, "faster")
    unclear = gate_of(tmp_path / "wide", wide, wide, wide)[0.08]
    assert (unclear.regressed.count, unclear.regressed.found, unclear.passed.found) == (1, 0, 0), "one is left over"


def test_certificates_of_earlier_versions_can_be_read(tmp_path: Path) -> None:
    content = json.loads(json.dumps(asdict(certificate(tmp_path))))
    for name in ("beside", "planned", "compared", "minutes", "effect", "width", "gate_margin", "gate"):
        del content[name]
    old = Certificate.from_json(content)
    assert (old.planned, old.beside, old.gate) == (None, None, [])
    assert [words for words, _ in old.conditions] == ["alone"]


def test_a_certificate_is_kept_for_each_device(tmp_path: Path) -> None:
    made = certificate(tmp_path)
    path = store(made, tmp_path / "certificates")
    assert path.name == "a-processor.json"
    assert Certificate.from_json(json.loads(path.read_text(encoding="utf-8"))) == made


def test_a_rate_has_its_exact_interval() -> None:
    assert Share.of([True, False, False, False]).rate == 0.25
    none = Share.of([False] * 40)
    assert (none.lo, none.hi) == (0, pytest.approx(1 - 0.025 ** (1 / 40)))


# --- the command ---------------------------------------------------------------------------------------------------


ONCE = (
    *("certify.comparisons=1", "certify.detections=1", "certify.slowdowns=[3]", *TINY),
    *("timing.min_rounds=6", "timing.max_seconds=60", "timing.width=1e9", "batch=3", "reporter=null"),
)


@pytest.mark.slow
def test_the_command_measures_tells_and_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*ONCE, "certify.neighbours=0"]) == 0
    run = only_run_of(tmp_path)
    rows = {one["strategy"]: one for one in summary(run)}
    assert set(rows) == {"direct", "direct-throttled-3", "direct-as-in-the-gate"}
    slow = rows["direct-throttled-3"]
    assert float(slow["speedup"]) < float(rows["direct"]["speedup"]), "slowed to a quarter"
    assert {one["status"] for one in rows.values()} == {"ok"}
    told = capsys.readouterr()
    assert "4 comparisons (4 alone) take about" in told.err
    assert "alone: false alarms" in told.out
    # A quarter of the speed is no luck, but one of the rounds may have been disturbed that much.
    found = float(slow["speedup_hi"]) < 1
    assert f"slowed by 300%: found {found:d} of 1" in told.out
    assert "the gate, slowed by 20%: regressed" in told.out
    assert "not complete" not in told.out
    (stored,) = (tmp_path / "results" / "certificates").glob("*.json")
    assert json.loads(stored.read_text(encoding="utf-8"))["run"] == run.name
    assert "python -m harness.certify" in slow["command"]


def ending_after(jobs: int) -> Callable[..., Callable[..., Outcome]]:
    """What limits the comparisons, with the time over after so many jobs."""

    def limit(made: list[Comparison], *, seconds: float) -> Callable[..., Outcome]:
        left, launch = iter(range(jobs)), limited(made, seconds=seconds)

        def launch_or_end(point: Point, job: Job, on_stage: Callable[[str], None]) -> Outcome:
            if next(left, None) is None:
                raise OutOfTimeError
            return launch(point, job, on_stage)

        return launch_or_end

    return limit


@pytest.mark.slow
def test_when_the_time_is_over_it_certifies_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.commands.certify.limited", ending_after(2))  # The first encodes.
    done = run_here(tmp_path, *ONCE, "certify.neighbours=0", "certify.minutes=7", command=main)
    assert done.returncode == 0, done.stderr
    assert "not complete: 1 of 4 comparisons came to an end within 7 minutes" in done.stdout
    assert "alone: false alarms: " in done.stdout
    (stored,) = (tmp_path / "results" / "certificates").glob("*.json")
    assert Certificate.from_json(json.loads(stored.read_text(encoding="utf-8"))).compared == 1


@pytest.mark.slow
def test_where_nothing_was_tried_there_is_no_certificate(tmp_path: Path) -> None:
    done = run_here(tmp_path, *ONCE, "certify.minutes=0.0000001", command=main)
    assert done.returncode == 2
    assert "no comparison of the strategy with itself came to an end within 0 s" in done.stderr
    assert not list((tmp_path / "results").glob("certificates/*"))


@pytest.mark.processes
def test_a_comparison_under_way_is_given_up_when_the_time_is_over(tmp_path: Path) -> None:
    words = [word for word in ONCE if word != "isolation=inline"]
    done = run_here(tmp_path, *words, "certify.minutes=0.002", command=main)  # Less than a worker takes.
    assert done.returncode == 2
    assert "timeout" not in done.stderr


@pytest.mark.processes
def test_neighbours_are_busy_and_then_gone() -> None:
    others = children()  # A template for workers may be there since an earlier test.
    with neighbours(1):
        (worker,) = children() - others
        began = busy_ticks(worker)
        wait_for(lambda: busy_ticks(worker) >= began + 5)
    assert not is_running(worker)


def children() -> set[int]:
    here = os.getpid()
    return {int(one) for one in Path(f"/proc/{here}/task/{here}/children").read_text(encoding="utf-8").split()}


def busy_ticks(process: int) -> int:
    """Its time on a processor, in the system's ticks."""
    return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[11])


def only_run_of(folder: Path) -> Path:
    (found,) = (folder / "results").glob("*-certify")
    return found


def test_more_than_one_point_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["batch=1,8"]) == 2
    assert "one value for each option" in complaint(capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "option",
    [
        *("certify.comparisons=0", "certify.slowdowns=[0]", "certify.detections=0", "certify.minutes=0"),
        *("certify.effect=0", "certify.neighbours=-1"),
    ],
)
def test_bad_options_are_named(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([option]) == 2
    assert option.partition("=")[0] in complaint(capsys.readouterr().err)
