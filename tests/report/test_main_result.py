"""What a report begins with: the finding as its title, one large figure, and everyone's rank."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from report.reading.run import read_run
from report.render.document import MainResult, Rank
from report.render.html import render_html
from report.sections.speed_against_batch import draw_throughput
from report.write import report_of as document_of
from report.write import shown_in
from tests.support.harness_runs import ended, row
from tests.support.report_runs import AGREED, CONFIG, FASTER, run_folder, size_of, text_of, written_report_of


def speed(value: float, verdict: str = "faster", **others: Any) -> dict[str, Any]:
    ends = {"speedup": value, "speedup_lo": 0.9 * value, "speedup_hi": 1.1 * value, "verdict": verdict}
    return FASTER | AGREED | ends | {"objects": 4} | others


def strategies() -> list[dict[str, Any]]:
    return [
        row("slow", strategy="rebuild", variant="", batch=8, **speed(0.2, "slower")),
        row("base", strategy="sequential", variant="", batch=8, **speed(1.0, "same")),
        row("small", batch=1, **speed(4.0)),
        row("best", batch=8, **speed(7.42, peak_rss_mb=1234.0)),
        row("odd", strategy="propagate", variant="", batch=8, **speed(9.0, iou_min=0.5)),
        ended("gone", "oom", "80 GB", strategy="greedy", variant="", batch=8, objects=4),
        ended("none", "skipped", "no GPU", strategy="triton", variant="", batch=8, objects=None, targets=1, refs=7),
    ]


def main_result_of(folder: Path, rows: list[dict[str, Any]]) -> MainResult:
    found = document_of(read_run(run_folder(folder, rows))).main_result
    assert found is not None
    return found


def title_of(folder: Path, rows: list[dict[str, Any]]) -> str:
    return document_of(read_run(run_folder(folder, rows))).title


def test_the_title_is_the_finding_and_the_run_stands_below(tmp_path: Path) -> None:
    document = document_of(read_run(run_folder(tmp_path / "20260102-030405-000000-mine", strategies())))
    assert document.title == "direct (shared), batch 8: 7.4 times as fast as sequential"
    assert document.about == "toy on synthetic data, a processor, run 20260102-030405-000000-mine"


def test_the_figure_says_what_it_is_of_and_what_goes_with_it(tmp_path: Path) -> None:
    found = main_result_of(tmp_path / "run", strategies())
    assert (found.figure, found.of, found.doubt) == ("7.4\N{MULTIPLICATION SIGN}", "as fast as sequential", "")
    assert found.facts == (
        *("direct (shared), batch 8", "4 objects", "95% interval 6.68 to 8.16", "same masks", "1,234 MB of memory"),
    )


def test_strategies_are_ranked_by_their_best_points_and_who_has_no_speed_comes_last(tmp_path: Path) -> None:
    found = main_result_of(tmp_path / "run", strategies())
    names = ["propagate", "direct (shared)", "sequential", "rebuild", "greedy", "triton"]
    assert [rank.name for rank in found.ranks] == names
    odd, best, *_, gone, none = found.ranks
    assert best == Rank(
        **{"name": "direct (shared)", "text": "7.42 (6.68-8.16)", "value": 7.42, "lo": 0.9 * 7.42, "hi": 1.1 * 7.42},
        **{"detail": "batch 8", "best": True},
    )
    assert (odd.sound, odd.note, odd.best) == (False, "other masks", False)
    assert [(one.value, one.text) for one in (gone, none)] == [(None, "ran out of memory"), (None, "not tried here")]


def test_ranks_are_of_one_setting(tmp_path: Path) -> None:
    rows = [row("one", batch=8, **speed(9.0, objects=1)), row("four", batch=8, **speed(3.0))]
    found = main_result_of(tmp_path / "run", rows)
    assert [rank.value for rank in found.ranks] == [3.0]
    assert title_of(tmp_path / "again", rows) == "direct (shared), batch 8, 4 objects: 3.0 times as fast as sequential"


@pytest.mark.parametrize(
    ("changes", "title", "doubt"),
    [
        (
            {"converged": False},
            "direct (shared), batch 1: at first sight 4.0 times as fast as sequential",
            "impression",
        ),
        ({"verdict": "unclear"}, "Nothing is clearly faster than sequential", "not clearly faster"),
    ],
    ids=str,
)
def test_the_title_claims_no_more_than_the_verdict(
    tmp_path: Path, changes: dict[str, Any], title: str, doubt: str
) -> None:
    rows = [row("one", **speed(4.0) | changes)]
    assert title_of(tmp_path / "run", rows) == title
    assert doubt in main_result_of(tmp_path / "again", rows).doubt


def test_without_a_baseline_the_figure_is_targets_per_second(tmp_path: Path) -> None:
    found = main_result_of(tmp_path / "run", [row("one", fps=1065.2), row("two", strategy="other", fps=9.0)])
    assert (found.figure, found.of, found.even) == ("1,065.2", "targets per second", None)
    assert "Not timed in turns with a baseline" in found.doubt


def test_where_nothing_ended_well_the_title_counts_how_it_ended(tmp_path: Path) -> None:
    rows = [ended("one", "oom", "80 GB"), ended("two", "oom", "80 GB", batch=8)]
    text = written_report_of(tmp_path / "run", rows)
    assert text.startswith("# Nothing can be recommended: 2 oom\n")
    assert not (tmp_path / "run" / "card.png").exists()
    assert "og:image" not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_an_interval_that_is_far_too_wide_does_not_flatten_the_bars() -> None:
    ranks = (Rank(name="a", text="", value=2.0, lo=1.0, hi=50.0), Rank(name="b", text="", value=1.0))
    found = MainResult(figure="", of="", facts=(), doubt="", scale="", ranks=ranks)
    assert found.longest == pytest.approx(2.6)


def test_a_link_to_the_page_has_a_preview(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    text = written_report_of(folder, strategies())
    assert size_of(folder / "card.png") == (1200, 630)
    assert "(card.png)" in text
    html = (folder / "report.html").read_text(encoding="utf-8")
    told = dict(re.findall(r'<meta property="og:(\S+)" content="([^"]*)">', html))
    assert told["title"] == "direct (shared), batch 8: 7.4 times as fast as sequential"
    assert "7.4 times as fast as sequential</title>" in html
    assert told["image"] == "card.png"
    assert "same masks" in told["description"]


def test_digits_are_grouped(tmp_path: Path) -> None:
    assert "| 1,065.2 |" in text_of(run_folder(tmp_path / "run", [row("one", fps=1065.2)]))


def test_points_of_two_devices_share_no_curve_and_no_rank(tmp_path: Path) -> None:
    rows = [
        row(f"{device}{batch}", device=device, batch=batch, **speed(float(batch)))
        for device in ("one card", "another card")
        for batch in (2, 8)
    ]
    run = read_run(run_folder(tmp_path / "run", rows))
    drawing = draw_throughput(run)
    assert drawing is not None
    labels = {label for panel in drawing.figure.axes for label in panel.get_legend_handles_labels()[1]}
    assert labels == {"direct (shared), one card", "direct (shared), another card"}
    found = document_of(run).main_result
    assert found is not None
    assert len(found.ranks) == 1


LARGEST_PAGE = 5_000_000


@pytest.mark.slow
def test_the_page_of_two_thousand_points_can_be_opened(tmp_path: Path) -> None:
    """A page of some megabytes opens at once, and its tables show their beginnings until all is asked for."""
    cost = {"peak_rss_mb": 512.5, "cpu_s_per_1000": 7.123456789, "gflop_per_s": 21.23456789, "encode_fps": 45.678912}
    rows = [
        row(
            f"{strategy}-b{batch}-o{objects}",
            **{"strategy": strategy, "variant": "", "batch": batch},
            **speed(0.2 + batch / 7, objects=objects, fps=batch / 3, **cost),
            command=f"python -m harness strategy={strategy} batch={batch} objects={objects}",
        )
        for strategy in map("strategy{}".format, range(20))
        for batch in range(1, 21)
        for objects in range(1, 6)
    ]
    assert len(rows) == 2000
    document = document_of(read_run(run_folder(tmp_path / "run", rows, config=CONFIG)))
    html = render_html(document, shown_in(document))
    assert html.count("Show all 2,000 rows") >= 2
    assert len(html.encode("utf-8")) < LARGEST_PAGE
