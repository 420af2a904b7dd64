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
from harness.stats.interval import Interval, judge, quotient
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
    told = capsys.readouterr()
    assert told.err.count("1 of 2 points are unclear and are measured again") == 2
    assert "raise check.retries=2, which ended the measuring" in told.out
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
    assert "raise check.minutes=0.01, which ended the measuring" in told.out
    assert "raise check.minutes=0.01," in (place.latest / "check.md").read_text(encoding="utf-8")
    assert place.check(*unclear, "timeout=33") == 3
    assert "raise timeout=33, which ended the measuring" in capsys.readouterr().out
    seconds = sorted(one["timing"]["max_seconds"] for one in configs(place))
    assert seconds == [1.0, 2.0, 3.0], "no longer than the timeout lets a point be measured"


def configs(place: Place) -> list[dict[str, Any]]:
    return [strict_json(path)["config"] for path in (place.latest / "points").iterdir()]


@pytest.mark.parametrize(
    ("seconds", "timeout", "times", "limit"),
    [
        (100.0, None, 2.0, "check.minutes=7"),
        (220.0, None, 8.0, "check.minutes=7"),
        (220.0, 90.0, 3.0, "timeout=90"),
        (10.0, None, -2.5, "check.minutes=7"),
    ],
)
def test_how_much_longer_depends_on_the_time_that_is_left(
    seconds: float, timeout: float | None, times: float, limit: str
) -> None:
    two = [
        point(timing=TimingConfig(min_seconds=0, max_seconds=longest), timeout=timeout, check=CheckConfig(minutes=7))
        for longest in (20.0, 0.0)
    ]
    assert most_times(two, seconds=seconds) == (times, limit)
    assert most_times(two[1:], seconds=seconds) == (0, "timing.max_seconds=0"), "nothing is no time, however often"


# --- the snapshot's own interval -----------------------------------------------------------------------------------


def speedup(old: Interval, new: Interval) -> Finding:
    comparison = quotient(new, old)
    return Finding(
        **{"key": "one", "quantity": "speedup", "state": judge(comparison, least=1 / 1.1)},  # type: ignore[arg-type]
        **{"old": old, "new": new, "comparison": comparison, "least": 1 / 1.1, "command": ""},  # type: ignore[arg-type]
    )


NARROW, WIDE = Interval(value=4.0, lo=3.9, hi=4.1), Interval(value=4.0, lo=3.0, hi=5.0)


@pytest.mark.parametrize(
    ("old", "new", "retryable", "advised"),
    [
        (NARROW, WIDE, True, "whose intervals reach across the margin"),
        (WIDE, NARROW, False, "because the snapshot's own interval"),
        # One end alone lies where the snapshot's interval decides, so more time may show that the value does not.
        (WIDE, Interval(value=4.0, lo=3.4, hi=4.9), True, "because the snapshot's own interval"),
        (WIDE, Interval(value=4.0, lo=2.6, hi=4.4), True, "because the snapshot's own interval"),
        (WIDE, Interval(value=4.8, lo=3.6, hi=6.0), True, "whose intervals reach across the margin"),
    ],
)
def test_what_the_snapshot_alone_keeps_unclear_is_told_apart(
    old: Interval, new: Interval, retryable: bool, advised: str
) -> None:
    found = speedup(old, new)
    assert found.unclear_speedup
    assert found.retryable == retryable
    (sentence,) = advice([found], CheckConfig(), None)
    assert sentence.startswith("Unclear speed-ups: 1, ")
    assert advised in sentence


def test_advice_names_the_limit_that_ended_the_measuring_and_no_time_where_no_time_would_help() -> None:
    unclear = [speedup(NARROW, WIDE), speedup(WIDE, NARROW), speedup(NARROW, NARROW)]
    first, second = advice(unclear, CheckConfig(), "check.retries=0")
    assert "raise check.retries=0, which ended the measuring, or allow more" in first
    assert "raise" not in second
    (without,) = advice(unclear[:1], CheckConfig(), None)
    assert "Measure on a quieter machine, or allow more" in without
    assert advice(unclear[2:], CheckConfig(), None) == []


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


ONE = ("strategy=ticking", "batch=3", "timing.max_seconds=0.5", "check.subset=true")
IMPOSSIBLE = "check.margins.speedup=0.0001"
"""No clock is so steady that equal code would be clear."""
TOO_WIDE = "The speed-ups of 1 points are so uncertain that equal code may be unclear beside them"


@pytest.mark.slow
def test_a_snapshot_is_measured_until_equal_code_would_be_clear_beside_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert place.check("--update", *ONE) == 0
    told = capsys.readouterr()
    assert "measured again" not in told.err
    assert place.check("--update", *ONE, IMPOSSIBLE, "check.retries=2") == 0
    told = capsys.readouterr()
    assert told.err.count("1 of 1 points are too uncertain for a snapshot and are measured again") == 2
    assert TOO_WIDE in told.err
    assert "is that of ticking batch=3 objects=2 " in told.err
    assert "raise check.retries=2, which ended the measuring" in told.err
    assert "snapshot written" in told.out
    assert place.judge("--update", IMPOSSIBLE, f"check.run={place.latest}") == 0
    told = capsys.readouterr()
    assert TOO_WIDE in told.err
    assert "or measure it for longer" in told.err


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
