"""Agreement in a report: whether masks are the same, by which rule, and why known ones are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from report.sections.are_the_masks_the_same import agreement_section
from report.sections.how_far_to_trust_it import caveats_section
from tests.support.harness_runs import row
from tests.support.report_runs import (
    AGREED,
    AGREEMENT,
    run_folder,
    section_of,
    table_cells,
    text_of,
    worst_target,
)

TITLE = "Are the masks the same"
LIMITS = {"typical_dlogit": 1e-4, "largest_dlogit": 1e-3, "iou": 0.99, "gate_score": 0.1, "pick_margin": 0.01}
FLOOR = {"largest_dlogit": 2e-4, "iou": 0.9975, "gate_flips": 1, "pick_flips": 2}


def test_agreement_has_a_table_that_names_the_worst_object(tmp_path: Path) -> None:
    details = {"one": {"agreement": AGREEMENT, "limits": LIMITS, "noise_floor": FLOOR}}
    text = section_of(tmp_path / "run", [row("one", **AGREED)], agreement_section, details=details)
    (cells,) = table_cells(text, TITLE)
    assert (cells["masks"], cells["least alike"], cells["IoU >= 0.99"]) == ("same", "木/2", "87.5%")
    assert "logits up to 2.0e-04 of their scale apart, a mean IoU of 0.9975, 3 flips" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "masks"),
    [
        ({}, "same"),
        ({"typical_dlogit": 1e-2}, "differ"),
        ({"pick_flips": 3, "excused_flips": 3}, "same"),
        ({"pick_flips": 3, "excused_flips": 2}, "differ"),
        ({"iou_alike": 0.9}, "differ"),
        ({"worst": [worst_target(iou=0.9)], "pick_flips": 3, "excused_flips": 3}, "same"),
    ],
    ids=str,
)
def test_the_rule_for_exact_strategies_decides_for_every_strategy(
    tmp_path: Path, changes: dict[str, Any], masks: str
) -> None:
    details = {"one": {"agreement": AGREEMENT | changes, "limits": LIMITS}}
    text = section_of(tmp_path / "run", [row("one", **AGREED)], agreement_section, details=details)
    assert table_cells(text, TITLE)[0]["masks"] == masks


@pytest.mark.slow
@pytest.mark.parametrize("agreement", [None, 3, {}, {"iou_mean": 1.0}, AGREEMENT | {"typical_dlogit": None}], ids=str)
@pytest.mark.parametrize(
    ("changes", "masks"), [({}, "same"), ({"pick_flips": 1}, "differ"), ({"pick_flips": 1, "dtype": "bf16"}, None)]
)
def test_without_the_whole_agreement_its_columns_decide(
    tmp_path: Path, agreement: Any, changes: dict[str, Any], masks: str | None
) -> None:
    details = {"one": {"agreement": agreement, "limits": LIMITS}}
    text = section_of(tmp_path / "run", [row("one", **AGREED | changes)], agreement_section, details=details)
    assert table_cells(text, TITLE)[0].get("masks") == masks


def test_known_differences_are_explained_in_a_sentence_each(tmp_path: Path) -> None:
    propagate = row("one", strategy="propagate", variant="", **AGREED)
    raw = row("two", strategy="extended_session", variant="raw", **AGREED)
    pinned = row("three", strategy="extended_session", variant="pinned", **AGREED)
    text = section_of(tmp_path / "run", [propagate, raw, pinned], agreement_section)
    assert "`propagate` lets every target remember the predictions before it" in text
    assert "`extended_session (raw)` keeps targets in slots at other distances in time" in text
    assert "in slots" not in section_of(tmp_path / "pinned", [pinned], agreement_section)
    failed = propagate | {"status": "crash", "reason": "no"}
    assert "remember" not in section_of(tmp_path / "failed", [failed], agreement_section)


JUDGED = {"fp32_masks": "same", "max_abs_dscore": 2.5e-3, "max_abs_diou": 1.5e-4, "checked_calls": 36}
NEW_FLOOR = FLOOR | {"fine": {"logits": {"largest": 3e-4}}}
ABOUT_FP32, ABOUT_CALLS = "`fp32_masks` are those of a few targets", "A mistake that spoils 3 in `checked_calls` calls"


def test_scores_predicted_ious_fp32_and_calls_have_columns(tmp_path: Path) -> None:
    details = {"one": {"noise_floor": {name: one for name, one in NEW_FLOOR.items() if name != "largest_dlogit"}}}
    rows = [
        row("one", masks="same", dtype="bf16", **AGREED | JUDGED),
        row("two", batch=8, masks="same", **AGREED | JUDGED | {"fp32_masks": None}),
        row(
            "three",
            batch=16,
            masks="same",
            status="wrong",
            reason="in fp32",
            **AGREED | JUDGED | {"fp32_masks": "differ"},
        ),
    ]
    text = section_of(tmp_path / "run", rows, agreement_section, details=details)
    cells = table_cells(text, TITLE)
    assert [(one["masks"], one["fp32_masks"]) for one in cells] == [("same", "same"), ("same", ""), ("same", "differ")]
    for one in cells:
        assert [one[name] for name in ("max_abs_dscore", "max_abs_diou", "checked_calls")] == [
            "2.5e-03",
            "1.5e-04",
            "36",
        ]
    assert ABOUT_FP32 in text
    assert ABOUT_CALLS in text
    assert "logits up to 3.0e-04 of their scale apart, a mean IoU of 0.9975, 3 flips" in text


def test_how_rare_a_mistake_shows_and_how_much_of_the_limits_is_used_is_told(tmp_path: Path) -> None:
    details = {
        "one": {"rarest_fault": 0.08, "share_of_limits": 0.31},
        "two": {"rarest_fault": 0.05, "share_of_limits": 0.62},
        "three": {"rarest_fault": 0.05, "share_of_limits": 7.5},
        "four": {"rarest_fault": "x", "share_of_limits": None},
    }
    others = [row(name, batch=8, masks="same", **AGREED) for name in ("two", "four")]
    rows = [row("one", masks="same", **AGREED | JUDGED), *others, row("three", masks="differ", **AGREED)]
    text = section_of(tmp_path / "run", rows, agreement_section, details=details)
    assert (
        f"{ABOUT_CALLS} shows with a probability of 95%. In every point one that spoils 8.0% of calls or more" in text
    )
    assert "Of the limits for noise, points whose masks are the same used at most 62%." in text


def test_an_old_run_without_these_columns_says_nothing_of_them(tmp_path: Path) -> None:
    details = {"one": {"agreement": AGREEMENT, "limits": LIMITS, "noise_floor": FLOOR}}
    folder = run_folder(tmp_path / "run", [row("one", **AGREED)], details=details)
    lines = (folder / "summary.csv").read_text(encoding="utf-8").splitlines()
    kept = [at for at, name in enumerate(lines[0].split(",")) if name not in (*JUDGED, "masks")]
    cut = [",".join(line.split(",")[at] for at in kept) for line in lines]
    (folder / "summary.csv").write_text("\n".join(cut) + "\n", encoding="utf-8")
    text = text_of(folder)
    (cells,) = table_cells(text, TITLE)
    assert cells["masks"] == "same"
    assert not set(JUDGED) & set(cells)
    assert ABOUT_FP32 not in text
    assert ABOUT_CALLS not in text
    assert "In every point" not in text
    assert "Of the limits for noise" not in text
    assert "logits up to 2.0e-04 of their scale apart" in text


def test_damaged_noise_floors_are_left_out(tmp_path: Path) -> None:
    damaged: list[Any] = [None, 3, "x", [], {}, {"logits": 3}, {"logits": {"largest": None}}]
    floors = {f"b{at}": FLOOR | {"fine": fine} for at, fine in enumerate(damaged)} | {"whole": NEW_FLOOR}
    rows = [row(name, batch=at, **AGREED) for at, name in enumerate(floors, 1)]
    details = {name: {"noise_floor": floor} for name, floor in floors.items()}
    text = section_of(tmp_path / "run", rows, agreement_section, details=details)
    assert "logits up to 3.0e-04 of their scale apart" in text


def weights_told(folder: Path, weights: str | None, worths: Sequence[Any]) -> str | None:
    """Return the caveat about random weights, of a run with a point for each of these; None where there is none."""
    details = {f"b{at}": {"worth": worth} for at, worth in enumerate(worths)}
    rows = [row(name, batch=at) for at, name in enumerate(details, 1)]
    config = {"model": {"name": "toy", "weights": weights}}
    text = section_of(folder, rows, caveats_section, config=config, details=details)
    return next((line for line in text.splitlines() if "random weights" in line), None)


@pytest.mark.slow
def test_what_agreement_on_random_weights_is_worth_is_said(tmp_path: Path) -> None:
    worths = [{"open_gates": share, "commonest_pick": 0.5} for share in (0.25, 0.75, 0.5)]
    told = weights_told(tmp_path / "run", "random", worths)
    assert told is not None
    assert "3 points have random weights" in told
    assert "(25% to 75% of the object-score gates are open)" in told
    assert weights_told(tmp_path / "shipped", None, worths) is None


def test_where_that_was_not_stored_or_is_damaged_it_is_left_out(tmp_path: Path) -> None:
    damaged: list[Any] = [None, 3, "x", [], {}, {"open_gates": "x"}, {"open_gates": None}]
    told = weights_told(tmp_path / "run", "random", [*damaged, {"open_gates": 0.5}])
    assert told is not None
    assert "8 points have random weights" in told
    assert "(50% to 50% of" in told
    told = weights_told(tmp_path / "old", "random", damaged)
    assert told is not None
    assert "gates" not in told
