"""Measuring again in vain: retries that are cut off, that fail, or that are worse than what was there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.gate.snapshot import load
from harness.isolate.failures import Failure
from harness.isolate.isolation import Outcome, run_inline
from harness.isolate.jobs import Job, MeasureJob
from harness.sweep import TimeLimit
from tests.support.check_runs import BENCH, Place
from tests.support.harness_runs import summary

ONE = ("strategy=ticking", "batch=3", "check.subset=true", "timing.processes=3", "timing.max_seconds=0.5", "minutes=1")
IMPOSSIBLE = "check.margins.speedup=0.0001"
"""No clock is so steady that equal code would be clear."""


@dataclass(kw_only=True)
class Machine:
    """What happens in a point's processes when it is measured, and when it is measured again.

    apart: how much slower all processes but the first are, at first and again. time_for: so many processes are measured
    again before ``minutes`` are over, on a clock of its own. ended: how the next one ends instead.
    """

    apart: tuple[float, float] = (1.0, 1.0)
    time_for: int | None = None
    ended: Failure | KeyboardInterrupt | None = None
    now: float = 0.0

    def launch(self, job: Job, *, on_stage: Callable[[str], None]) -> Outcome:
        if not isinstance(job, MeasureJob):
            return run_inline(job, on_stage=on_stage)
        again = job.point.config.timing.width == 0.0
        BENCH.throttled[3, 2] = self.apart[again] if job.process else 1.0
        if again and job.process == 1 and self.ended is not None:
            if isinstance(self.ended, KeyboardInterrupt):
                raise self.ended
            return Outcome(failure=self.ended)
        done = run_inline(job, on_stage=on_stage)
        if again and job.process + 1 == self.time_for:
            self.now += 3600
        return done


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine()
    monkeypatch.setattr("harness.sweep.run_inline", made.launch)
    monkeypatch.setattr("harness.cli.TimeLimit", lambda seconds: TimeLimit(seconds, clock=lambda: made.now))
    return made


def processes(place: Place) -> list[int]:
    return sorted(int(line["processes"] or 1) for line in summary(place.latest))


def kept(place: Place) -> float:
    """How wide the interval is of the point that the snapshot keeps."""
    (record,) = load(place.snapshots[0]).points.values()
    assert record.status == "ok"
    assert record.speedup is not None
    return record.speedup.hi / record.speedup.lo - 1


@pytest.mark.slow
def test_one_lucky_process_of_a_retry_does_not_stand_for_the_point(
    place: Place, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.apart, machine.time_for = (1.3, 1.3), 1
    capsys.readouterr()
    assert place.check(*ONE) == 3
    told = capsys.readouterr()
    assert processes(place) == [1, 3], "nothing is measured once more"
    assert "cut off (only 1 of 6 processes have measured it), so the result before counts" in told.out
    assert "raise minutes=1, which ended the measuring" in told.out
    assert place.judge(f"check.run={place.latest}", "check.subset=true", "check.margins.memory=9") == 3


@pytest.mark.slow
def test_a_snapshot_keeps_what_was_complete_where_a_person_interrupts(place: Place, machine: Machine) -> None:
    machine.apart, machine.ended = (1.3, 1.3), KeyboardInterrupt()
    assert place.check("--update", *ONE) == 130
    assert len(load(place.snapshots[0]).points) == 4, "it is the old one"
    assert processes(place) == [1, 3]
    assert place.judge("--update", f"check.run={place.latest}") == 0
    assert kept(place) > 0.1, "three processes do not agree"


@pytest.mark.slow
def test_a_snapshot_keeps_the_narrowest_result(place: Place, machine: Machine) -> None:
    machine.apart = (1.0, 1.3)
    assert place.check("--update", *ONE, IMPOSSIBLE, "check.retries=1") == 0
    assert processes(place) == [3, 6]
    assert kept(place) < 0.05


@pytest.mark.slow
def test_a_retry_that_crashes_is_a_regression_that_says_so_and_no_snapshot(
    place: Place, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.apart, machine.ended = (1.3, 1.3), Failure(status="crash", reason="it fell")
    assert place.check(*ONE) == 1
    assert place.cases()["ticking b3 o2", "status"] == "failure"
    why = "in process 2 of 6: it fell; it was ok at first, and ended so when it was measured again; ok in the snapshot"
    assert why in (place.latest / "check.md").read_text(encoding="utf-8")
    capsys.readouterr()
    assert place.check("--update", *ONE, "timeout=null") == 0
    told = capsys.readouterr()
    assert told.err.count("are measured again") == 1, "it would only fall once more"
    assert "1 points were ok, and failed when they were measured again; the snapshot keeps what was ok" in told.err
    assert kept(place) > 0.1


@pytest.mark.slow
def test_a_retry_that_its_timeout_ends_leaves_the_point_unclear(
    place: Place, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.apart, machine.ended = (1.3, 1.3), Failure(status="timeout", reason="longer than 90 seconds")
    capsys.readouterr()
    assert place.check(*ONE, "timeout=90") == 3
    told = capsys.readouterr()
    assert told.err.count("are measured again") == 1, "it would take longer still"
    assert "raise timeout=90, which ended the measuring" in told.out
    assert "measured again, it ended otherwise (timeout: in process 2 of 6: longer than 90 seconds)" in told.out
