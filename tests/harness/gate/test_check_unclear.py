"""What the gate does about points that are unclear: it measures them again for longer, and says what may help."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.gate.check import advice
from harness.gate.rule import Finding
from harness.gate.timing import most_times
from harness.options.config import CheckConfig, TimingConfig
from harness.options.points import Point
from harness.stats.interval import Interval, quotient
from tests.support.check_runs import BENCH, Place
from tests.support.harness_runs import point, strict_json, summary


def give_width(place: Place, share: float) -> None:
    """Let the snapshot's speed-ups of batches of 3 be as uncertain as that to both sides."""
    written = strict_json(place.snapshots[0])
    for name, record in written["points"].items():
        if "batch=3" in name:
            value = record["speedup"]["value"]
            record["speedup"] |= {"lo": value * (1 - share), "hi": value * (1 + share)}
    place.snapshots[0].write_text(json.dumps(written), encoding="utf-8")


@pytest.mark.slow
def test_what_is_unclear_is_measured_again_for_longer_and_only_that(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    give_width(place, 0.0)
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
    give_width(place, 0.0)
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


def unclear(old: Interval, new: Interval) -> Finding:
    return Finding(
        **{"key": "one", "quantity": "speedup", "state": "unclear", "command": ""},  # type: ignore[arg-type]
        **{"old": old, "new": new, "comparison": quotient(new, old), "least": 1 / 1.1},  # type: ignore[arg-type]
    )


def test_a_snapshot_that_is_too_wide_itself_is_told_apart_and_not_measured_against_for_longer() -> None:
    narrow, wide, wider = (Interval(value=4.0, lo=4 - width, hi=4 + width) for width in (0.1, 1.0, 1.6))
    assert len(advice([unclear(narrow, wide)], CheckConfig())) == 1
    assert unclear(narrow, wide).retryable
    assert "the snapshot's own interval" in advice([unclear(wide, narrow)], CheckConfig())[1]
    assert not unclear(wide, narrow).retryable
    assert unclear(wide, wider).retryable, "it may turn out to be so fast, or so slow, that it is clear"


@pytest.mark.slow
def test_what_the_snapshot_keeps_unclear_is_not_measured_again(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    give_width(place, 0.3)
    capsys.readouterr()
    assert place.check("strategy=ticking", "check.subset=true") == 3
    told = capsys.readouterr()
    assert "measured again" not in told.err
    assert "the snapshot's own interval" in told.out


@pytest.mark.slow
def test_a_snapshot_is_measured_until_equal_code_would_be_clear_beside_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = ("--update", "strategy=ticking", "batch=3", "timing.max_seconds=0.5", "check.retries=2")
    assert place.check(*shown) == 0
    told = capsys.readouterr()
    assert "measured again" not in told.err
    assert place.check(*shown, "check.margins.speedup=0.0001") == 0
    told = capsys.readouterr()
    assert told.err.count("1 of 1 points are unclear and are measured again") == 2
    assert "The speed-ups of 1 points are so uncertain that equal code may be unclear beside them" in told.err
    assert "snapshot written" in told.out


@pytest.mark.slow
def test_what_is_unclear_gets_more_processes_too_where_it_has_several(place: Place) -> None:
    give_width(place, 0.0)
    BENCH.throttled[3, 2] = 1.1
    several = ("strategy=ticking", "batch=3", "check.subset=true", "timing.processes=2", "timing.max_seconds=0.5")
    assert place.check(*several, "check.retries=1") == 3
    assert processes(place) == [2, 4]
    BENCH.throttled.clear()
    assert place.check(*several) == 0, "what is as fast as it was is clear in two processes"
    assert processes(place) == [2]


def processes(place: Place) -> list[int]:
    return sorted(int(line["processes"]) for line in summary(place.latest))


@pytest.mark.slow
def test_the_last_attempt_counts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something else keeps the machine busy at first."""
    monkeypatch.setattr("harness.gate.timing._longer", quiet_after(1))
    give_width(place, 0.0)
    BENCH.throttled[3, 2] = 1.1
    assert place.check("strategy=ticking", "batch=3", "check.subset=true") == 0
    assert len(summary(place.latest)) == 2, "one attempt more"


def quiet_after(attempts: int) -> Any:
    from harness.gate.timing import _longer

    def longer(point: Point, times: float, run: Path) -> Point:
        if times == 2.0**attempts:
            BENCH.throttled.clear()
        return _longer(point, times, run)

    return longer
