"""Where a GPU was slower without a pause than in turns, the report says so and gives both rates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.result import Block
from tests.support.harness_runs import row
from tests.support.report_runs import report_of


def blocks(*rates: float) -> list[Block]:
    """Return a block of the candidate's at each rate, in targets/s, between blocks of a baseline of 10."""
    return [
        Block(group="moths", round=at, place=place, side=side, targets=20, seconds=20 / rate, cpu_seconds=0.0)  # type: ignore[arg-type]
        for at, own in enumerate(rates)
        for place, side, rate in ((0, "baseline", 10.0), (1, "candidate", own))
    ]


def caveat(folder: Path, sustained: dict[str, Any], *, rates: tuple[float, ...] = (99.0, 100.0, 140.0)) -> str | None:
    """Return the sentence about a run in which each of these points had those rates in turns, or None."""
    rows = [row(name, batch=at) for at, name in enumerate(sustained, 1)]
    text = report_of(
        folder,
        rows,
        details={name: {"sustained": found} for name, found in sustained.items()},
        samples={name: blocks(*rates) for name in sustained},
    )
    return next((line for line in text.splitlines() if "Without a pause" in line), None)


def test_both_rates_are_given_where_they_differ_by_more_than_five_per_cent(tmp_path: Path) -> None:
    told = caveat(
        tmp_path / "run", {"fast": {"targets": 300, "seconds": 3.1}, "slow": {"targets": 270, "seconds": 3.0}}
    )
    assert told is not None
    assert "`slow` 90 targets/s instead of 100" in told, "the median block"
    assert "fast" not in told, "it is 3 % off"


def test_the_points_that_are_the_furthest_off_are_named(tmp_path: Path) -> None:
    told = caveat(tmp_path / "run", {f"b{rate}": {"targets": rate, "seconds": 1.0} for rate in (94, 50, 80, 60, 70)})
    assert told is not None
    assert [told.index(name) for name in ("`b50`", "`b60`", "`b70`")] == sorted(
        told.index(name) for name in ("`b50`", "`b60`", "`b70`")
    )
    assert "and 2 more" in told


@pytest.mark.parametrize("damaged", [None, 3, {}, {"targets": 1}, {"targets": "x", "seconds": 0}])
def test_where_no_stretch_was_measured_nothing_is_said(tmp_path: Path, damaged: Any) -> None:
    assert caveat(tmp_path / "run", {"b1": damaged}) is None
    assert caveat(tmp_path / "alone", {"b1": {"targets": 1, "seconds": 1.0}}, rates=()) is None
