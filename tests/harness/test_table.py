"""The table that ends a sweep, in terminals of any width, and the line that people quote."""

from __future__ import annotations

import re
from typing import Any

import pytest
from rich.console import Console

import harness.table
from harness.row import CATALOGUE, Row
from harness.table import finding, print_table
from tests.support.harness_runs import ended, row

SPEED = {"speedup": 4.25, "speedup_lo": 4.0, "speedup_hi": 4.5, "verdict": "faster", "reference": "sequential"}
EVERYTHING: dict[str, Any] = {
    **SPEED,
    **{"bank_s": 0.123, "iou_min": 1.0, "jf": 0.5, "peak_rss_mb": 542.4, "vram_peak_mb": 70_000.0, "fps": 123456.7},
    **{"masks": "same", "converged": True},
}


def lines_of(rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What the table prints, without the letters' styles."""
    print_table([Row(**one) for one in rows])
    return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()


def terminal(width: int, patch: pytest.MonkeyPatch) -> None:
    """From here on, standard output is a terminal of so many characters."""
    patch.setattr(harness.table, "Console", lambda: Console(force_terminal=True, no_color=True, width=width))


def header_of(lines: list[str]) -> list[str]:
    return re.findall(r"\w+", next(line for line in lines if "strategy" in line))


def test_the_table_has_a_line_a_point_and_only_columns_that_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    out = lines_of(
        [
            row("one", batch=8, objects=4, fps=12.34, iou_min=0.98765),
            ended("two", "skipped", "too large", strategy="sequential", variant="", objects=None),
        ],
        capsys,
    )
    header, direct, sequential = [line for line in out if any(letter.isalnum() for letter in line)]
    assert "iou_min" in header
    assert "vram_peak_mb" not in header
    assert "jf" not in header
    for cell in ("direct", "shared", "8", "ok", "12.3", "0.9877"):
        assert cell in direct
    assert "skipped" in sequential
    assert "None" not in "".join(out)


def test_an_option_that_one_point_alone_has_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    out = lines_of([row("one", options=""), row("two", options="baseline.piece=1")], capsys)
    assert "options" in header_of(out)
    assert [("baseline.piece=1" in line) for line in out if "direct" in line] == [False, True]
    assert "options" not in header_of(lines_of([row("one", options=""), row("two", options="")], capsys))
    assert "repeat" in header_of(lines_of([row("one", repeat=0), row("two", repeat=1)], capsys))


def test_stars_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("one", **SPEED, converged=False), row("two", converged=False), row("three", **SPEED, converged=True)]
    out = "\n".join(lines_of(rows, capsys))
    assert (out.count("4.25*"), out.count("12.5*")) == (1, 1)
    assert "* not measured long enough (2 of 3 points)" in out
    assert "*" not in "".join(lines_of(rows[2:], capsys))


def test_the_table_is_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    out = "\n".join(lines_of([row("one", strategy="a_strategy_with_quite_a_long_name", **EVERYTHING)], capsys))
    for word in ("a_strategy_with_quite_a_long_name", "speedup", "peak_rss_mb", "vram_peak_mb", "123456.7"):
        assert word in out, word
    assert "…" not in out
    assert "left out" not in out


@pytest.mark.parametrize("width", [80, 120])
def test_a_narrow_terminal_goes_without_columns_and_no_word_is_cut(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(width, monkeypatch)
    lines = lines_of([row("one", strategy="extended_session", variant="pinned", **EVERYTHING)], capsys)
    assert max(map(len, lines)) <= width
    header = header_of(lines)
    assert {"strategy", "variant", "batch", "objects", "speedup", "status"} <= set(header) <= set(CATALOGUE)
    assert "…" not in "".join(lines)
    (cells,) = [line.split() for line in lines if "extended_session" in line]
    assert "4.25" in cells
    told = " ".join(lines[-2:])
    left = {name for name, one in CATALOGUE.items() if one.shown == "always"} - set(header)
    assert left
    assert [name for name in sorted(left) if name not in told] == []


def test_what_has_a_star_stays_in_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(80, monkeypatch)
    alone = dict.fromkeys(SPEED) | {"converged": False}
    lines = lines_of([row("one", **EVERYTHING | alone), row("two", variant="repeat", **EVERYTHING)], capsys)
    assert "fps" in header_of(lines)
    assert any("123456.7*" in line for line in lines)


def test_a_wide_terminal_has_all_columns(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(200, monkeypatch)
    lines = lines_of([row("one", **EVERYTHING)], capsys)
    assert {name for name, one in CATALOGUE.items() if one.shown == "always"} <= set(header_of(lines))


def test_a_terminal_narrower_than_all_that_stays_cuts_no_word_either(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal(40, monkeypatch)
    out = lines_of([row("one", strategy="a_strategy_with_quite_a_long_name", **EVERYTHING)], capsys)
    assert any("a_strategy_with_quite_a_long_name" in line for line in out)
    assert "…" not in "".join(out)


# --- the line that people quote ------------------------------------------------------------------------------------


def found(*rows: dict[str, Any]) -> str | None:
    return finding([Row(**one) for one in rows])


def test_the_best_point_is_told_as_people_quote_it() -> None:
    speed = {"speedup": 6.71, "speedup_lo": 6.34, "speedup_hi": 7.49}
    line = found(
        row("slower", **EVERYTHING | {"speedup_lo": 1.0, "speedup_hi": 5.0}),
        row("best", batch=8, **EVERYTHING | speed | {"vram_peak_mb": None}),
        row("wrong", batch=16, masks="differ", **{key: value for key, value in EVERYTHING.items() if key != "masks"}),
    )
    assert line == ("direct (shared), batch 8: 6.7 times (6.3-7.5) as fast as sequential, same masks, 542 MB")


def test_a_point_that_was_not_measured_long_enough_is_quoted_with_its_star() -> None:
    line = found(row("one", **EVERYTHING | {"converged": False}))
    assert line is not None
    assert ": 4.2* times (4.0-4.5) as fast" in line


def test_of_several_settings_it_says_which() -> None:
    line = found(row("few", **EVERYTHING | {"objects": 1}), row("many", **EVERYTHING | {"objects": 4}))
    assert line is not None
    assert line.startswith("direct (shared), batch 1, 4 objects: ")


def test_where_nothing_is_clearly_faster_it_says_so() -> None:
    speed = {"speedup": 1.02, "speedup_lo": 0.97, "speedup_hi": 1.08, "verdict": "unclear"}
    line = found(row("one", **EVERYTHING | speed))
    assert line is not None
    assert line.startswith(
        "nothing is clearly faster than sequential; the best is direct (shared), batch 1: 1.02 times"
    )


def test_without_a_baseline_the_rate_is_told() -> None:
    assert found(row("one", fps=12.5)) == "direct (shared), batch 1: 12.5 targets/s, masks not compared"


def test_nothing_is_quoted_where_no_point_went_well() -> None:
    assert found(ended("one", "oom", "no room")) is None
