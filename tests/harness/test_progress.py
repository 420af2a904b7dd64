"""What a sweep tells while it runs and when it ends."""

from __future__ import annotations

from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from harness.progress import Progress, print_table
from harness.row import Row
from tests.support.harness_runs import ended, row


def printed(rows: list[dict[str, Any]], *, total: int) -> list[str]:
    """Lines for a reader that is not a terminal."""
    text = StringIO()
    with Progress(total, Console(file=text, soft_wrap=True, highlight=False)) as progress:
        for one in (Row(**given) for given in rows):
            progress.begin(one.point)
            progress.stage("encoding frames")
            progress.end(one)
    return text.getvalue().splitlines()


def test_every_point_is_one_line_with_its_place_its_status_and_its_speed() -> None:
    first, second = printed([row("one", fps=12.34), ended("two", "crash", "ValueError: it fell")], total=5)
    assert first.startswith("[1/5] one: ok, 12.3 frames/s")
    assert second.startswith("[2/5] two: crash, ValueError: it fell")


def test_brackets_in_a_reason_are_text_and_not_markup() -> None:
    (line,) = printed([ended("one", "crash", "IndexError: [red]shape[/red] [3, 4]")], total=1)
    assert "IndexError: [red]shape[/red] [3, 4]" in line


def test_a_long_reason_stays_on_its_line() -> None:
    reason = "RuntimeError: " + "no " * 200 + "end"
    (line,) = printed([ended("one", "crash", reason)], total=1)
    assert reason in line


def test_a_reason_that_fills_screens_is_cut_and_moves_no_cursor() -> None:
    (line,) = printed([ended("one", "crash", "\x1b[2J" + "x" * 200_000)], total=1)
    assert r"\x1b[2Jxxx" in line
    assert len(line) < 2000


def test_the_table_has_a_line_a_point_and_only_columns_that_were_measured(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(
        [
            Row(**row("one", batch=8, objects=4, fps=12.34, iou_min=0.98765)),
            Row(**ended("two", "skipped", "too large", strategy="sequential", variant="", objects=None)),
        ]
    )
    out = capsys.readouterr().out
    header, *lines = [line for line in out.splitlines() if any(letter.isalnum() for letter in line)]
    assert "iou_min" in header
    assert "vram_peak_mb" not in header
    assert "jf" not in header
    direct, sequential = lines
    for cell in ("direct", "shared", "8", "ok", "12.3", "0.9877"):
        assert cell in direct
    assert "skipped" in sequential
    assert "None" not in out


def test_a_point_that_was_not_measured_long_enough_has_a_star_which_the_table_explains(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speed = {"speedup": 4.25, "speedup_lo": 4.0, "speedup_hi": 4.5, "verdict": "faster", "reference": "sequential"}
    rows = [row("one", **speed, converged=False), row("two", converged=False), row("three", **speed, converged=True)]
    first, second, third = printed(rows, total=3)
    assert "4.25x* sequential (faster)" in first
    assert "12.5* frames/s" in second
    assert "*" not in third
    print_table([Row(**one) for one in rows])
    out = capsys.readouterr().out
    assert (out.count("4.25*"), out.count("12.5*")) == (1, 1)
    assert "* not measured long enough (2 of 3 points)" in out
    print_table([Row(**rows[2])])
    assert "*" not in capsys.readouterr().out


def test_the_table_is_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    everything = {"bank_s": 0.123, "iou_min": 1.0, "jf": 0.5, "peak_rss_mb": 812.0, "vram_peak_mb": 70_000.0}
    speed = {"fps": 123456.7, "speedup": 4.25, "speedup_lo": 4.0, "speedup_hi": 4.5, "verdict": "faster"}
    print_table([Row(**row("one", strategy="a_strategy_with_quite_a_long_name", **speed, **everything))])
    out = capsys.readouterr().out
    for word in ("a_strategy_with_quite_a_long_name", "speedup", "peak_rss_mb", "vram_peak_mb", "123456.7"):
        assert word in out, word
    assert "…" not in out
