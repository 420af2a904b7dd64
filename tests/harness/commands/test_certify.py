"""The certificate: which comparisons are made, and what is read off their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.commands.certify import certificate_of, comparisons, main
from harness.options.config import CertifyConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.row import Row
from harness.store.certificate import Certificate, Share, store
from harness.store.results import RunFolder
from tests.support.check_runs import environment
from tests.support.harness_runs import TINY, complaint, point, row, summary

SLOWDOWNS = [0.05, 0.2]


def grid(**options: Any) -> list[Point]:
    return comparisons(point(certify=CertifyConfig(comparisons=4, detections=3, slowdowns=SLOWDOWNS), **options))


def share(made: Point) -> float:
    return float(made.config.strategy["share"])


def run_with(folder: Path, made: list[Point], **rows: Any) -> RunFolder:
    """A finished run: ``rows`` gives, by name of the slow-down, (lo, ratio, hi) and verdict of each comparison."""
    run = RunFolder(folder / "run")
    run.write_json("environment.json", environment(git_commit="abc"))
    left = {name: list(values) for name, values in rows.items()}
    for one in made:
        lo, ratio, hi, verdict = left[f"by_{share(one) * 100:.0f}"].pop(0)
        speed = {"speedup": ratio, "speedup_lo": lo, "speedup_hi": hi, "verdict": verdict}
        run.add(PointResult(row=Row(**row(one.name, strategy=one.strategy, **speed)), config={}))
    return run


ALIKE = [(0.98, 1.0, 1.02, "same"), (0.9, 1.0, 1.1, "unclear"), (1.01, 1.06, 1.1, "faster"), (0.97, 1.0, 1.03, "same")]
FOUND = [(0.8, 0.83, 0.86, "slower")] * 3
MISSED = [(0.93, 0.95, 0.97, "slower"), (0.96, 0.97, 0.99, "same"), (0.9, 0.97, 1.03, "unclear")]


def certificate(tmp_path: Path, **rows: Any) -> Certificate:
    made = grid()
    found = certificate_of(run_with(tmp_path, made, **({"by_0": ALIKE, "by_5": MISSED, "by_20": FOUND} | rows)), made)
    assert found is not None
    return found


def test_a_strategy_meets_itself_and_itself_slowed_down_each_time_in_a_point_of_its_own() -> None:
    made = grid()
    assert [share(one) for one in made] == [0.0] * 4 + [0.05] * 3 + [0.2] * 3
    assert len({one.name for one in made}) == len(made)
    for one in made:
        assert one.config.paired
        assert one.config.baseline["share"] == 0.0
        assert one.config.baseline["strategy"] == one.config.strategy["strategy"]
    assert len({one.workload for one in made}) == 1, "features are made once"


def test_false_alarms_are_comparisons_with_itself_that_were_called_faster_or_slower(tmp_path: Path) -> None:
    alarms = certificate(tmp_path).false_alarms
    assert (alarms.found, alarms.count, alarms.rate) == (1, 4, 0.25)
    assert alarms.lo < 0.25 < alarms.hi


def test_a_slow_down_is_found_where_the_whole_interval_is_below_1_whatever_the_band(tmp_path: Path) -> None:
    five, twenty = certificate(tmp_path).effects
    assert (five.slowdown, five.detected.found, five.detected.count) == (0.05, 2, 3)
    assert (twenty.slowdown, twenty.detected.found) == (0.2, 3)
    assert five.median_speedup == 0.97


def test_the_smallest_is_the_one_from_which_on_nine_of_ten_are_found(tmp_path: Path) -> None:
    assert certificate(tmp_path).smallest_detected == 0.2
    assert certificate(tmp_path, by_5=FOUND).smallest_detected == 0.05
    assert certificate(tmp_path, by_20=MISSED).smallest_detected is None
    assert certificate(tmp_path, by_5=FOUND, by_20=MISSED).smallest_detected is None, "luck is no resolution"


def test_comparisons_without_an_interval_do_not_count(tmp_path: Path) -> None:
    made = grid()
    run = run_with(tmp_path, made, by_0=[(None, 1.0, None, "unclear")] * 4, by_5=MISSED, by_20=FOUND)
    assert certificate_of(run, made) is None


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


@pytest.mark.slow
def test_the_command_measures_tells_and_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("certify.comparisons=1", "certify.detections=1", "certify.slowdowns=[3]")
    rounds = ("timing.min_rounds=6", "timing.max_seconds=60", "timing.width=1e9")
    assert main([*few, *TINY, *rounds, "batch=3"]) == 0
    run = only_run_of(tmp_path)
    rows = summary(run)
    assert [one["strategy"] for one in rows] == ["direct", "direct-throttled-3"]
    assert float(rows[1]["speedup"]) < float(rows[0]["speedup"]), "slowed to a quarter"
    assert rows[1]["status"] == "ok", "the masks are the same"
    out = capsys.readouterr().out
    assert "false alarms" in out
    # A quarter of the speed is no luck, but one of the rounds may have been disturbed that much.
    found = float(rows[1]["speedup_hi"]) < 1
    assert f"slowed by 300%: found {found:d} of 1" in out
    (stored,) = (tmp_path / "results" / "certificates").glob("*.json")
    assert json.loads(stored.read_text(encoding="utf-8"))["run"] == run.name
    assert "python -m harness.certify" in rows[0]["command"]


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
@pytest.mark.parametrize("option", ["certify.comparisons=0", "certify.slowdowns=[0]", "certify.detections=0"])
def test_bad_options_are_named(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([option]) == 2
    assert option.partition("=")[0] in complaint(capsys.readouterr().err)
