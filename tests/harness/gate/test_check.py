"""The gate's command line: it finds what was injected, on just those points, and passes without.

Runs inline, with strategies that move a clock of their own, so nothing here depends on how busy the machine is; one
test has real processes and real time.
"""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from harness.gate.check import main
from harness.gate.snapshot import load
from harness.stats.interval import judge, quotient
from tests.support.check_runs import BENCH, EVERY, Place, junit_cases, missing_but
from tests.support.harness_runs import TINY, run_here, summary


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
    slow = float(place.row_of("ticking", batch=3, objects=2)["speedup"])
    assert slow == pytest.approx(4 / 1.2, rel=0.02)
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("regressed: ")
    text = (place.latest / "check.md").read_text(encoding="utf-8")
    assert "| regressed | ticking batch=3 | speedup |" in text
    why = f"wrong: {place.row_of('ticking', batch=1, objects=2)['reason']}; ok in the snapshot"
    assert f"| regressed | ticking batch=1 | status |  |  |  |  | {why} |" in text


@pytest.mark.slow
def test_the_command_that_it_names_finds_the_same_on_that_point_alone(place: Place) -> None:
    BENCH.throttled[3, 2] = 1.2
    assert place.check("strategy=ticking", "check.subset=true") == 1
    command = place.row_of("ticking", batch=3, objects=2)["command"]
    assert command in (place.latest / "junit.xml").read_text(encoding="utf-8")
    python, flag, module, *arguments = shlex.split(command)
    assert (python, flag, module) == ("python", "-m", "harness.check")
    assert main([place.search, *arguments]) == 1
    assert len(summary(place.latest)) == 1
    assert set(place.unsettled()) == {("ticking b3 o2", "speedup"), *missing_but("ticking b3 o2")}


@pytest.mark.slow
def test_points_that_were_not_measured_leave_it_open_unless_that_is_meant(place: Place) -> None:
    assert place.check("batch=3", "strategy=ticking") == 3
    assert set(place.unsettled()) == missing_but("ticking b3 o2")
    assert place.check("batch=3", "strategy=ticking", "check.subset=true") == 0


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
    left_out = {one.partition("=")[0] for one in (*rounds, "isolation=", "paired=")}
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
