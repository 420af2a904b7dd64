"""The table of the targets on which masks agree least."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from report.sections.are_the_masks_the_same import agreement_section
from tests.support.harness_runs import row
from tests.support.report_runs import (
    AGREEMENT,
    section_of,
    table_cells,
    worst_target,
)

WORST = "Where they agree least"


def strategy(name: str, **changes: Any) -> dict[str, Any]:
    """Return a row whose point has the strategy's name and the masks of `sequential`."""
    return row(name, strategy=name, variant="", iou_min=1.0, **changes)


def test_the_worst_targets_are_in_a_table(tmp_path: Path) -> None:
    worst = {
        "sequential": [worst_target()],
        "near": [worst_target(group="a", target=3, object_id=1, iou=0.99998), worst_target(group="a")],
        "far": [worst_target(group="b", target=40, object_id=2, iou=0.25), worst_target(group="a", iou=0.5)],
    }
    details = {name: {"agreement": AGREEMENT | {"worst": targets}} for name, targets in worst.items()}
    text = section_of(tmp_path / "run", [strategy(name) for name in worst], agreement_section, details=details)
    cells = [list(line.values()) for line in table_cells(text, WORST)]
    assert cells == [
        ["far", "1", "4", "b", "40", "2", "0.25000"],
        ["far", "1", "4", "a", "0", "254", "0.50000"],
        ["near", "1", "4", "a", "3", "1", "0.99998"],
    ]


def test_one_point_that_is_far_off_does_not_fill_the_table(tmp_path: Path) -> None:
    worst = {
        "far": [worst_target(target=target, iou=0.1 + 0.01 * target) for target in range(10)],
        "near": [worst_target(iou=0.9), worst_target(target=1, iou=0.95)],
    }
    details = {name: {"agreement": AGREEMENT | {"worst": targets}} for name, targets in worst.items()}
    text = section_of(tmp_path / "run", [strategy(name) for name in worst], agreement_section, details=details)
    cells = table_cells(text, WORST)
    assert [(one["strategy"], one["target"]) for one in cells] == [
        *(("far", str(target)) for target in range(8)),
        *(("near", "0"), ("near", "1")),
    ]


def test_a_target_that_the_points_of_a_strategy_share_is_listed_once(tmp_path: Path) -> None:
    """The row with the lowest IoU stays, and of equal ones that with the largest batch."""
    worst = {
        "b1": [worst_target(iou=0.5), worst_target(target=1, iou=0.6)],
        "b8": [worst_target(iou=0.5), worst_target(target=1, iou=0.7)],
        "b4": [worst_target(iou=0.5), worst_target(group="b", iou=0.8)],
        "other": [worst_target(iou=0.5)],
    }
    rows = [strategy("far") | {"point": name, "batch": int(name[1:])} for name in ("b1", "b8", "b4")]
    details = {name: {"agreement": AGREEMENT | {"worst": targets}} for name, targets in worst.items()}
    cells = table_cells(
        section_of(tmp_path / "run", [*rows, strategy("other")], agreement_section, details=details), WORST
    )
    rows = [(one["strategy"], one["batch"], one["group"], one["target"], one["IoU"]) for one in cells]
    assert sorted(rows) == [
        ("far", "1", "specimen000", "1", "0.60000"),
        ("far", "4", "b", "0", "0.80000"),
        ("far", "8", "specimen000", "0", "0.50000"),
        ("other", "1", "specimen000", "0", "0.50000"),
    ]
