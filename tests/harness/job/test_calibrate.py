"""The search for the fastest strategy and batch, with comparisons that take no time."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from harness.job.calibrate import LARGEST, named, search
from harness.options.points import Point
from harness.stats.speedup import SpeedUp
from tests.support.harness_runs import point


def resized(one: Point, batch: int) -> Point:
    return point(one.strategy, batch=batch)


def racing(fps: Mapping[tuple[str, int], float], *, width: float = 0.02) -> list[tuple[str, str]]:
    """Search among points of such speeds, any other of which can't be measured; returns who was compared, and at last
    the winner twice."""
    asked: list[tuple[str, str]] = []

    def compare(best: Point, challenger: Point) -> SpeedUp | None:
        asked.append((named(best), named(challenger)))
        speeds = [fps.get((one.strategy, one.config.batch)) for one in (best, challenger)]
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
