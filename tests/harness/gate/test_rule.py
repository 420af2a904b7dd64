"""The rule of the regression gate, on hand-made results: what is regressed, what is unclear, and the exit code."""

from __future__ import annotations

import random
from dataclasses import replace
from math import exp, log
from typing import Any

import pytest

from harness.gate.rule import Finding, compare, exit_code, too_wide
from harness.gate.snapshot import Record
from harness.options.config import MarginsConfig
from harness.row import Row
from harness.stats.interval import Interval
from tests.support.check_runs import snapshot
from tests.support.harness_runs import ended, row

MARGINS = MarginsConfig()
GOOD: dict[str, Any] = {
    **{"reference": "sequential", "speedup": 4.0, "speedup_lo": 3.9, "speedup_hi": 4.1},
    **{"iou_mean": 0.999, "iou_min": 0.97, "jf": 0.9, "peak_rss_mb": 500.0},
}


def of(findings: list[Finding]) -> dict[str, str]:
    """State by quantity, of a single point."""
    assert len({finding.key for finding in findings}) == 1
    return {finding.quantity: finding.state for finding in findings}


def states(old: dict[str, Any], new: dict[str, Any], **devices: str) -> dict[str, str]:
    """Return the states of a point whose row was GOOD but for ``old``, and now is but for ``new``."""
    before = snapshot(point=row(**(GOOD | old)))
    now = snapshot(point=row(**(GOOD | new)), **devices)
    return of(compare(before, now, MARGINS))


def speedup(ratio: float, reach: float) -> dict[str, float]:
    return {"speedup": ratio, "speedup_lo": ratio / (1 + reach), "speedup_hi": ratio * (1 + reach)}


ALL_PASS = dict.fromkeys(("status", "speedup", "iou_mean", "iou_min", "jf", "peak_rss_mb"), "pass")


def test_the_same_again_passes_in_every_quantity() -> None:
    assert states({}, {}) == ALL_PASS


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (speedup(4.0 / 1.2, 0.03), "regressed"),
        (speedup(4.0 / 1.2, 0.15), "unclear"),
        (speedup(4.0 / 1.1, 0.03), "unclear"),
        (speedup(4.0 / 1.05, 0.01), "pass"),
        (speedup(4.0, 0.03), "pass"),
        (speedup(4.0, 0.3), "unclear"),
        (speedup(8.0, 0.3), "pass"),
    ],
)
def test_speed_regressed_where_the_whole_interval_of_the_change_is_beyond_the_margin(
    new: dict[str, float], expected: str
) -> None:
    assert states({}, new) == ALL_PASS | {"speedup": expected}


def test_the_snapshots_own_interval_counts_too() -> None:
    slower = speedup(4.0 / 1.2, 0.03)
    assert states(speedup(4.0, 0.02), slower)["speedup"] == "regressed"
    assert states(speedup(4.0, 0.15), slower)["speedup"] == "unclear"


@pytest.mark.parametrize(
    ("quantity", "worse", "well"),
    [
        ("iou_mean", 0.9939, 0.9941),
        ("iou_min", 0.9199, 0.9201),
        ("jf", 0.8949, 0.8951),
        ("peak_rss_mb", 550.1, 549.9),
        ("vram_peak_mb", 1101.0, 1099.0),
    ],
)
def test_masks_have_absolute_margins_and_memory_a_share(quantity: str, worse: float, well: float) -> None:
    before = {"vram_peak_mb": 1000.0} if quantity == "vram_peak_mb" else {}
    expected = ALL_PASS | dict.fromkeys(before, "pass")
    assert states(before, before | {quantity: worse}) == expected | {quantity: "regressed"}
    assert states(before, before | {quantity: well}) == expected


@pytest.mark.parametrize("changes", [{"iou_mean": 1.0, "iou_min": 1.0, "jf": 1.0}, {"peak_rss_mb": 1.0}])
def test_better_is_no_regression(changes: dict[str, float]) -> None:
    assert states({}, changes) == ALL_PASS


def test_wider_margins_excuse_more() -> None:
    old, new = snapshot(point=row(**GOOD)), snapshot(point=row(**(GOOD | speedup(3.0, 0.02) | {"jf": 0.8})))
    found = of(compare(old, new, MarginsConfig(speedup=0.5, jf=0.2)))
    assert found == ALL_PASS


def test_memory_is_compared_on_the_snapshots_device_only_and_the_rest_anywhere() -> None:
    elsewhere = states({}, {"peak_rss_mb": 5000.0, "jf": 0.5}, device="another processor")
    assert elsewhere == {"status": "pass", "speedup": "pass", "iou_mean": "pass", "iou_min": "pass", "jf": "regressed"}


@pytest.mark.parametrize(("reach", "wide"), [(0.033, False), (0.035, True)])
def test_a_snapshot_may_be_as_wide_as_equal_code_still_passes_beside_it(reach: float, wide: bool) -> None:
    kept = snapshot(point=row(**(GOOD | speedup(4.0, reach))), broken=ended("broken", "crash", "it fell"))
    assert [one.key for one in too_wide(kept, MARGINS)] == ["point"] * wide


@pytest.mark.parametrize(("reach", "share"), [(0.033, 0.98), (0.067, 0.5)])
def test_equal_code_measured_again_scatters_and_passes_so_often(reach: float, share: float) -> None:
    drawn = random.Random(0)
    passed = 0
    for _ in range(500):
        first, again = (4.0 * exp(drawn.gauss(0, log(1 + reach) / 1.96)) for _ in range(2))
        passed += states(speedup(first, reach), speedup(again, reach))["speedup"] == "pass"
    assert passed / 500 == pytest.approx(share, abs=0.03)


# --- what is not there ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quantity", ["speedup", "jf", "peak_rss_mb"])
def test_what_was_not_measured_this_time_is_unclear_and_what_the_snapshot_lacks_is_new(quantity: str) -> None:
    nothing = {"speedup": None, "speedup_lo": None, "speedup_hi": None} if quantity == "speedup" else {quantity: None}
    assert states({}, nothing) == ALL_PASS | {quantity: "unclear"}
    lacking = "unclear" if quantity == "speedup" else "new"  # A point without its speed-up must not pass for that.
    assert states(nothing, {}) == ALL_PASS | {quantity: lacking}
    assert quantity not in states(nothing, nothing)


def test_a_speed_up_without_an_interval_is_none() -> None:
    assert states({}, {"speedup": 4.0, "speedup_lo": None, "speedup_hi": None})["speedup"] == "unclear"


def test_speed_ups_over_different_strategies_are_not_compared() -> None:
    assert states({}, {"reference": "rebuild"})["speedup"] == "unclear"


@pytest.mark.parametrize("status", ["oom", "timeout", "crash", "wrong"])
def test_a_point_that_no_longer_ends_well_is_regressed_and_nothing_else_is_said_of_it(status: str) -> None:
    new = snapshot(point=ended("point", status, "because", iou_mean=0.1))
    (finding,) = compare(snapshot(point=row(**GOOD)), new, MARGINS)
    assert (finding.quantity, finding.state) == ("status", "regressed")
    assert "because" in finding.detail
    assert exit_code([finding], subset=False) == 1


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("ok", "ok", "pass: ok"),
        ("ok", "skipped", "unclear"),
        ("oom", "oom", "pass: oom: because; as in the snapshot"),
        ("oom", "ok", "pass: ok; oom in the snapshot"),
        ("oom", "wrong", "regressed"),
        (None, "ok", "new"),
        (None, "skipped", "new"),
        (None, "crash", "regressed"),
    ],
)
def test_a_status_may_be_ok_or_what_it_was(old: str | None, new: str, expected: str) -> None:
    def of_status(status: str) -> dict[str, Any]:
        return row() if status == "ok" else ended("point", status, "because")

    before = {} if old is None else {"point": of_status(old)}
    findings = compare(snapshot(**before), snapshot(point=of_status(new)), MARGINS)
    (found,) = [one for one in findings if one.quantity == "status"]
    state, _, detail = expected.partition(": ")
    assert found.state == state
    assert found.detail == detail or not detail


def test_a_point_of_the_snapshot_that_was_not_measured_is_missing() -> None:
    (finding,) = compare(snapshot(point=row(command="measure it")), snapshot(), MARGINS)
    assert (finding.state, finding.command) == ("missing", "measure it")


# --- findings and the exit code ------------------------------------------------------------------------------------


def test_a_finding_has_both_intervals_the_change_the_limit_and_the_command() -> None:
    new = snapshot(point=row(**(GOOD | speedup(3.2, 0.02)), command="measure it"))
    (finding,) = [one for one in compare(snapshot(point=row(**GOOD)), new, MARGINS) if one.state == "regressed"]
    assert finding.key == "point"
    assert finding.old == Interval(value=4.0, lo=3.9, hi=4.1)
    assert finding.new is not None
    assert finding.new.value == 3.2
    assert finding.comparison is not None
    assert finding.comparison.value == pytest.approx(0.8)
    assert finding.least == pytest.approx(1 / 1.1)
    assert finding.command == "measure it"


def test_only_the_points_that_changed_are_found() -> None:
    old = snapshot(a=row(**GOOD), b=row(**GOOD), c=row(**GOOD))
    slow = Record.of(Row(**row(**(GOOD | speedup(4.0 / 1.2, 0.02)))))
    flipped = Record.of(Row(**row(**(GOOD | {"iou_mean": 0.99, "iou_min": 0.0}))))
    new = replace(old, points=old.points | {"a": slow, "c": flipped})
    bad = {(one.key, one.quantity) for one in compare(old, new, MARGINS) if one.state != "pass"}
    assert bad == {("a", "speedup"), ("c", "iou_mean"), ("c", "iou_min")}


def finding(state: Any) -> Finding:
    return Finding(key="point", quantity="speedup", state=state, command="")


@pytest.mark.parametrize(
    ("found", "expected", "of_subset"),
    [
        (["pass"], 0, 0),
        (["pass", "new"], 0, 0),
        (["pass", "unclear"], 3, 3),
        (["pass", "missing"], 3, 0),
        (["pass", "unclear", "regressed", "missing"], 1, 1),
        (["new", "missing"], 3, 3),
        (["new"], 3, 3),
        ([], 3, 3),
    ],
)
def test_the_exit_code_and_that_a_gate_which_compared_nothing_is_not_green(
    found: list[str], expected: int, of_subset: int
) -> None:
    findings = [finding(state) for state in found]
    assert exit_code(findings, subset=False) == expected
    assert exit_code(findings, subset=True) == of_subset
