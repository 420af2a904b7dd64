"""The search for the fastest strategy and batch, with comparisons that take no time."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path

import pytest

from harness.data.folder import folder_groups
from harness.job import calibrate
from harness.job.calibrate import LARGEST, Calibration, named, search
from harness.options.points import Point
from harness.pipeline.plan import work_of
from harness.stats.speedup import SpeedUp
from strategies import Sam2
from strategies.errors import UserError
from tests.support.harness_runs import point
from tests.support.jobs import BRIEF, draw


def resized(one: Point, batch: int) -> Point:
    return point(one.strategy, batch=batch)


def racing(fps: Mapping[tuple[str, int], float], *, width: float = 0.02) -> list[tuple[str, str]]:
    """Search among points of such speeds, any other of which can't be measured; returns who was compared, and at last
    the winner twice."""
    asked: list[tuple[str, str]] = []

    def compare(best: Point, candidate: Point) -> SpeedUp | None:
        asked.append((named(best), named(candidate)))
        speeds = [fps.get((one.strategy, one.config.batch)) for one in (best, candidate)]
        if speeds[0] is None or speeds[1] is None:
            return None
        ratio = speeds[1] / speeds[0]
        return SpeedUp(ratio=ratio, lo=ratio * (1 - width), hi=ratio * (1 + width), rounds=5)

    found = search(
        point("direct", batch=8),
        [point("rebuild", batch=8), point("sequential", batch=8)],
        resized=resized,
        compare=compare,
    )
    assert len(found.tried) + len(found.untried) == len(asked)
    for tried in found.tried:
        assert tried.speedup.lo is not None
        assert tried.speedup.ratio > 1 or tried.speedup.lo < 1 + width
    return [*asked, (named(found.point), named(found.point))]


@pytest.mark.parametrize(
    ("fps", "winner"),
    [
        ({("direct", 8): 50.0, ("sequential", 8): 10.0, ("rebuild", 8): 1.0, ("direct", 16): 45.0}, "direct batch=8"),
        (
            {("direct", 8): 50.0, ("sequential", 8): 70.0, ("sequential", 4): 80.0, ("sequential", 2): 95.0},
            "sequential batch=2",
        ),
        ({("direct", 8 * 2**power): 50.0 * 1.2**power for power in range(9)}, f"direct batch={LARGEST}"),
        ({("direct", 8): 50.0, ("direct", 16): 50.5}, "direct batch=8"),  # not clearly faster
        ({("direct", 8): 50.0}, "direct batch=8"),  # nothing else fits
    ],
)
def test_who_is_clearly_faster_wins(fps: dict[tuple[str, int], float], winner: str) -> None:
    *_, (found, _) = racing(fps)
    assert found == winner


def test_smaller_batches_are_tried_where_larger_ones_are_no_faster_only() -> None:
    larger = racing({("direct", 8): 50.0, ("direct", 16): 60.0, ("direct", 4): 90.0})
    assert ("direct batch=8", "direct batch=4") not in larger
    assert larger[-1][0] == "direct batch=16"
    assert racing({("direct", 8): 50.0, ("direct", 4): 90.0})[-1][0] == "direct batch=4"


def test_a_given_batch_stays() -> None:
    found = search(point("direct", batch=8), [], resized=None, compare=lambda *_: None)
    assert (named(found.point), found.tried, found.untried) == ("direct batch=8", (), ())


@pytest.mark.slow
def test_pictures_that_can_not_be_read_are_left_out_of_what_is_measured_on(
    tmp_path: Path, model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calibrate, "TIMING", BRIEF)
    root = draw(tmp_path / "my_data", targets=4)
    targets = sorted((root / "specimen000" / "targets").iterdir())
    for path in (targets[0], targets[2]):
        path.write_bytes(b"")
    (work,) = work_of(folder_groups(root=root, references=None, targets=None), None, tmp_path / "masks")
    calibration = Calibration(work, model, targets=4, seconds=20.0, seed=0)
    assert calibration.worth_it(point("direct", batch=1))
    assert calibration.compare(point("rebuild", batch=1), point("direct", batch=1)) is not None
    assert calibration.compare(point("rebuild", batch=1), point("direct", batch=3)) is None, "two can be read"
    for path in targets:
        path.write_bytes(b"")
    with pytest.raises(UserError, match="no target"):
        Calibration(work, model, targets=4, seconds=1000.0, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "measured"), [(21.0, False), (35.0, True)])
def test_a_comparison_has_time_for_the_larger_of_both_batches(
    tmp_path: Path, model: Sam2, monkeypatch: pytest.MonkeyPatch, seconds: float, measured: bool
) -> None:
    """A target alone takes a second, three of the best point's ten: eight passes over three take 24."""
    times = chain([0.0, 0.0, 1.0, 1.0, 1.0, 11.0], count(11.0, 0.01))
    monkeypatch.setattr(calibrate, "TIMING", BRIEF)
    monkeypatch.setattr(calibrate, "device_clock", lambda _: lambda: next(times))
    root = draw(tmp_path / "my_data", targets=4)
    (work,) = work_of(folder_groups(root=root, references=None, targets=None), None, tmp_path / "masks")
    calibration = Calibration(work, model, targets=4, seconds=seconds, seed=0)
    speedup = calibration.compare(point("rebuild", batch=3), point("direct", batch=1))
    assert (speedup is not None) == measured
