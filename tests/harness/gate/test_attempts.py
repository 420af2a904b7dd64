"""Which of a point's results counts where it was measured more than once, on hand-made runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness.gate.attempts import failed_again, narrowest
from harness.gate.snapshot import Record, Snapshot, load
from harness.options.config import TimingConfig
from harness.result import PointResult
from harness.row import Row
from harness.stats.interval import Interval
from harness.store.results import RunFolder
from tests.support.check_runs import environment
from tests.support.harness_runs import ended, point, row

WIDE, NARROW = Interval(value=4.0, lo=3.0, hi=5.0), Interval(value=3.0, lo=2.9, hi=3.1)
ASKED = 3
"""Processes of every result."""


def ok(speedup: Interval | None, *, processes: int = ASKED) -> dict[str, Any]:
    timed = {"reference": "sequential", "processes": processes}
    if speedup is None:
        return row(**timed)
    interval = {"speedup": speedup.value, "speedup_lo": speedup.lo, "speedup_hi": speedup.hi}
    return row(**timed, **interval, verdict="faster")


def bad(status: str) -> dict[str, Any]:
    return ended("", status, "who knows")


def run_of(folder: Path, *results: dict[str, Any]) -> Path:
    """A run in which one point was measured again and again, each time for longer."""
    run = RunFolder(folder / "run")
    run.write_json("environment.json", environment())
    for time, result in enumerate(results, start=1):
        made = point(timing=TimingConfig(processes=ASKED, max_seconds=time))
        described = {"point": made.name, "strategy": made.strategy, "variant": made.variant}
        run.add(PointResult(row=Row(**result | described), config=made.options))
        os.utime(run.path / "points" / f"{made.name}.json", (time, time))
    return run.path


def only(snapshot: Snapshot) -> Record:
    (record,) = snapshot.points.values()
    return record


def compared(run: Path) -> Record:
    return only(Snapshot.of_run(run))


def kept(run: Path) -> Record:
    return only(Snapshot.of_run(run, choose=narrowest))


def test_the_last_result_is_compared_and_the_narrowest_kept(tmp_path: Path) -> None:
    run = run_of(tmp_path, ok(WIDE), ok(NARROW), ok(WIDE), ok(None))
    assert compared(run).speedup is None
    assert kept(run).speedup == NARROW
    assert kept(run).reason is None
    assert only(load(run)) == kept(run), "a run that others are compared with is a snapshot"


def test_a_retry_that_was_cut_off_does_not_stand_for_the_point(tmp_path: Path) -> None:
    run = run_of(tmp_path, ok(WIDE), ok(NARROW, processes=1))
    for record in (compared(run), kept(run)):
        assert record.speedup == WIDE
        assert record.reason is not None
        assert "cut off (only 1 of 3 processes have measured it), so the result before counts" in record.reason
    assert failed_again(run) == {}


def test_a_retry_that_its_timeout_ended_was_cut_off_too(tmp_path: Path) -> None:
    run = run_of(tmp_path, ok(WIDE), bad("timeout"))
    assert compared(run).status == kept(run).status == "ok"
    assert "measured again, it ended otherwise (timeout: who knows)" in str(compared(run).reason)
    assert list(failed_again(run).values()) == ["timeout"]


def test_a_point_that_was_only_cut_off_has_no_speed_up(tmp_path: Path) -> None:
    run = run_of(tmp_path, ok(NARROW, processes=2))
    for record in (compared(run), kept(run)):
        assert (record.status, record.speedup) == ("ok", None)
        assert record.reason == "only 2 of 3 processes have measured it"


def test_a_first_measurement_that_its_timeout_ended_counts(tmp_path: Path) -> None:
    run = run_of(tmp_path, bad("timeout"))
    assert compared(run).status == kept(run).status == "timeout"
    assert failed_again(run) == {}


@pytest.mark.parametrize("status", ["crash", "oom", "wrong"])
def test_a_retry_that_failed_is_told_and_a_snapshot_keeps_what_was_ok(status: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, ok(WIDE), bad(status))
    assert compared(run).status == status
    assert compared(run).reason == "who knows; it was ok at first, and ended so when it was measured again"
    assert (kept(run).status, kept(run).speedup) == ("ok", WIDE)
    assert kept(run).reason == f"measured again, it ended otherwise ({status}: who knows)"
    assert list(failed_again(run).values()) == [status]
