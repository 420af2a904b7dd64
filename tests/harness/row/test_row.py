"""The row of a point: one definition of every column, which nothing that is no measurement gets past."""

from __future__ import annotations

from typing import Any

import pytest

from harness.row import CATALOGUE, COLUMNS, SPEEDUP, STATUSES, Row, column_reference
from tests.support.harness_runs import row


def test_what_was_not_measured_is_none() -> None:
    made = Row(**row("one", iou_min=0.5))
    assert (made.point, made.iou_min, made.jf, made.masks, made.repeat) == ("one", 0.5, None, None, 0)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        *(("status", word) for word in ("fine", "", None, "OK")),
        *(("masks", "alike"), ("verdict", "splendid"), ("fps", "12.5"), ("fps", True), ("batch", 1.5), ("batch", None)),
        *(("converged", "False"), ("converged", 0), ("point", None), ("strategy", 3), ("gate_flips", 0.5)),
    ],
)
def test_a_value_that_its_column_can_not_hold_is_refused_by_the_columns_name(column: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"not a result row: its {column} can't be"):
        Row(**row(**{column: value}))


@pytest.mark.parametrize(("column", "value"), [("fps", 12), ("fps", float("inf")), ("converged", False), ("jf", None)])
def test_a_value_that_its_column_can_hold_is_kept(column: str, value: object) -> None:
    assert getattr(Row(**row(**{column: value})), column) is value


@pytest.mark.parametrize("status", [status for status in STATUSES if status != "ok"])
@pytest.mark.parametrize(
    ("column", "value"), {**dict.fromkeys(SPEEDUP, 2.0), "verdict": "faster"}.items(), ids=lambda one: str(one)
)
def test_fast_but_wrong_can_not_be_written_down(status: str, column: str, value: Any) -> None:
    with pytest.raises(ValueError, match="has no speed-up"):
        Row(**row(status=status, **{column: value}))
    assert getattr(Row(**row(status="ok", **{column: value})), column) == value


# --- as it travels and is stored -----------------------------------------------------------------------------------


def test_a_row_of_another_version_is_read_as_far_as_this_one_knows_its_columns() -> None:
    given = row("one", fps=3.0)
    assert Row.from_json(given | {"frames_per_fortnight": 1}) == Row.from_json(given) == Row(**given)


@pytest.mark.parametrize("column", [name for name, column in CATALOGUE.items() if column.required])
def test_a_row_without_what_every_point_has_is_none(column: str) -> None:
    given = row("one")
    del given[column]
    with pytest.raises(ValueError, match=f"it has no {column}"):
        Row.from_json(given)


# --- the columns' descriptions -------------------------------------------------------------------------------------


def test_the_reference_has_every_column_in_order_with_a_whole_sentence() -> None:
    columns = column_reference()
    assert tuple(name for name, _, _ in columns) == COLUMNS
    for name, _, help in columns:
        assert help[0].isupper(), name
        assert help.endswith("."), name
        assert len(help.split()) > 3, name


def test_numbers_have_a_format_and_words_none() -> None:
    for name, column in CATALOGUE.items():
        assert bool(column.format) == (column.kind in (int, float)), name
        if column.format:
            assert format(column.kind(3), column.format), name


def test_masks_stand_beside_what_they_are_judged_by() -> None:
    assert COLUMNS.index("masks") + 1 == COLUMNS.index("iou_mean")
