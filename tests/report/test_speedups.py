"""Speed-ups in a report: stated, explained and plotted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.harness_runs import row
from tests.support.report_runs import (
    CONFIG,
    FASTER,
    report_of,
    size_of,
    table_cells,
    written_report_of,
)


def test_a_speed_up_is_shown_with_its_interval_and_its_verdict(tmp_path: Path) -> None:
    rows = [row("one", **FASTER), row("two", batch=8, **FASTER | {"speedup": 0.25, "speedup_lo": None})]
    (first, second) = table_cells(report_of(tmp_path / "run", rows))
    assert first["speedup"] == "4.34 (4.21-4.69)"
    assert first["verdict"] == "faster"
    assert second["speedup"] == "0.25", "one round has no interval"


def test_what_did_not_converge_is_starred_and_the_star_explained_once(tmp_path: Path) -> None:
    hasty = {"converged": False}
    rows = [row("one", **FASTER), row("two", batch=8, **FASTER | hasty), row("alone", strategy="other", **hasty)]
    text = report_of(tmp_path / "run", rows)
    first, second, alone = table_cells(text)
    assert first["speedup"] == "4.34 (4.21-4.69)"
    assert second["speedup"] == "4.34 (4.21-4.69)*"
    assert alone["fps"] == "12.5*"
    assert text.count("did not converge:") == 1
    assert "did not converge:" not in report_of(tmp_path / "other", [row("one", **FASTER)])


def test_the_table_of_all_points_says_what_a_speed_up_means(tmp_path: Path) -> None:
    details = {
        "one": {"outliers": {"a": [False, True, False], "b": [False]}},
        "two": {"outliers": {"a": [True, False, False]}},
    }
    rows = [row("one", **FASTER), row("two", batch=8, **FASTER)]
    text = report_of(tmp_path / "run", rows, details=details, config={"timing": {"same": 0.07}})
    for words in ("against `sequential`", "ABBA", "95%", "0.93 and 1.07", "outliers stay in: 2 of 7 over all points"):
        assert words in text, words
    assert "ABBA" not in report_of(tmp_path / "alone", [row("one", converged=True)])


@pytest.mark.slow
def test_speed_ups_are_plotted_where_there_are_any(tmp_path: Path) -> None:
    rows = [row(f"b{batch}o{count}", batch=batch, objects=count, **FASTER) for batch in (1, 8) for count in (1, 4)]
    assert "(speedup.png)" in written_report_of(tmp_path / "run", rows, config=CONFIG)
    width, height = size_of(tmp_path / "run" / "speedup.png")
    assert width > height > 300, "two panels side by side"
    assert "speedup.png" not in written_report_of(tmp_path / "alone", [row("one")])
    assert not (tmp_path / "alone" / "speedup.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "config"),
    [({"converged": False}, CONFIG), ({"speedup_hi": 6.0}, CONFIG), ({}, {"timing": {"same": 0.5}})],
    ids=["not converged", "wider interval", "wider band"],
)
def test_the_plot_of_speed_ups_shows(tmp_path: Path, changes: dict[str, Any], config: dict[str, Any]) -> None:
    written_report_of(tmp_path / "run", [row("one", **FASTER)], config=CONFIG)
    written_report_of(tmp_path / "other", [row("one", **FASTER | changes)], config=config)
    pictures = [(tmp_path / name / "speedup.png").read_bytes() for name in ("run", "other")]
    assert pictures[0] != pictures[1]


@pytest.mark.slow
@pytest.mark.parametrize("speedup", [1e-4, 0.03, 1.0, 70.0, 1e5])
def test_a_speed_up_of_any_size(tmp_path: Path, speedup: float) -> None:
    ends = {"speedup": speedup, "speedup_lo": speedup * 0.99, "speedup_hi": speedup}
    (cells,) = table_cells(report_of(tmp_path / "run", [row("one", **FASTER | ends)], config=CONFIG))
    assert float(cells["speedup"].split()[0]) == pytest.approx(speedup, rel=0.01)


@pytest.mark.slow
def test_repeated_points_are_distinguished(tmp_path: Path) -> None:
    rows = [row(f"repeat{number}", repeat=number, **FASTER) for number in range(40)]
    cells = table_cells(report_of(tmp_path / "run", rows, config=CONFIG))
    assert [one["repeat"] for one in cells] == [str(number) for number in range(40)]
    assert "repeat" not in table_cells(report_of(tmp_path / "once", [row("one", repeat=3)]))[0]
