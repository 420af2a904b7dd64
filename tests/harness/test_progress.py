"""What a sweep tells while it runs."""

from __future__ import annotations

from io import StringIO
from typing import Any

from rich.console import Console

from harness.progress import Progress
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


def test_a_terminal_shows_what_the_running_point_is_doing() -> None:
    text = StringIO()
    console = Console(file=text, force_terminal=True, width=80, highlight=False)
    with Progress(3, console) as progress:
        progress.begin("direct-shared-b8-o4-0a1b2c3d")
        progress.stage("encoding frames")
    assert "direct-shared-b8-o4: encoding frames" in text.getvalue()


def test_a_point_that_was_not_measured_long_enough_has_a_star() -> None:
    speed = {"speedup": 4.25, "speedup_lo": 4.0, "speedup_hi": 4.5, "verdict": "faster", "reference": "sequential"}
    rows = [row("one", **speed, converged=False), row("two", converged=False), row("three", **speed, converged=True)]
    first, second, third = printed(rows, total=3)
    assert "4.25x* sequential (faster)" in first
    assert "12.5* frames/s" in second
    assert "*" not in third
