"""Findings are shown as JUnit XML that every reader takes, as Markdown and as a table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from harness.gate.findings import junit, markdown, print_findings, summary_line
from harness.gate.rule import Finding
from harness.stats.interval import Interval

OLD = Interval(value=4.0, lo=3.9, hi=4.1)
SLOW = Finding(
    key="direct shared batch=8",
    quantity="speedup",
    state="regressed",
    old=OLD,
    new=Interval(value=3.2, lo=3.1, hi=3.3),
    comparison=Interval(value=0.8, lo=0.77, hi=0.83),
    least=1 / 1.1,
    command="python -m harness.check batch=8",
)
MASKS = Finding(
    key="direct shared batch=8",
    quantity="iou_mean",
    state="pass",
    old=Interval.exact(0.9991),
    new=Interval.exact(0.9985),
    comparison=Interval.exact(-0.0006),
    least=-0.005,
    command="python -m harness.check batch=8",
)
HEAVY = Finding(
    key="direct repeat batch=8",
    quantity="peak_rss_mb",
    state="regressed",
    old=Interval.exact(500.0),
    new=Interval.exact(625.0),
    comparison=Interval.exact(0.8),
    least=1 / 1.1,
    command="python -m harness.check bank=repeat",
)


def plain(state: Any, text: str, **changes: Any) -> Finding:
    arguments = {"key": "a point", "quantity": "status", "command": "python -m harness.check a"} | changes
    return Finding(state=state, detail=text, **arguments)


UNCLEAR, NEW, MISSING = plain("unclear", "who knows"), plain("new", "never seen"), plain("missing", "gone")
ALL = [SLOW, MASKS, HEAVY, UNCLEAR, NEW, MISSING]


def cases(findings: list[Finding]) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(junit(findings)).iter("testcase"))


def test_every_point_and_quantity_is_a_test_case() -> None:
    found = [(case.get("classname"), case.get("name"), [child.tag for child in case]) for case in cases(ALL)]
    assert found == [
        ("direct shared batch=8", "speedup", ["failure"]),
        ("direct shared batch=8", "iou_mean", []),
        ("direct repeat batch=8", "peak_rss_mb", ["failure"]),
        *[("a point", "status", ["skipped"])] * 3,
    ]


def test_the_suite_counts_its_cases() -> None:
    suite = ElementTree.fromstring(junit(ALL)).find("testsuite")
    assert suite is not None
    assert [suite.get(name) for name in ("tests", "failures", "errors", "skipped")] == ["6", "2", "0", "3"]


def test_a_failure_says_the_old_and_the_new_interval_the_change_and_the_command() -> None:
    failure = cases([SLOW])[0][0]
    assert failure.get("message") == (
        "regressed: speedup was 4.000 [3.900, 4.100] and is 3.200 [3.100, 3.300]; "
        "the change is -20.0% [-23.0%, -17.0%], -9.1% is allowed"
    )
    assert failure.text is not None
    assert "python -m harness.check batch=8" in failure.text


def test_memory_is_shown_as_how_much_more_there_is() -> None:
    message = cases([HEAVY])[0][0].get("message")
    assert message == "regressed: peak_rss_mb was 500 and is 625; the change is +25.0%, +10.0% is allowed"


@pytest.mark.parametrize("text", ["\x00\x1b[31m it fell", "a < b & c > d", 'say "x"', "Größe 木", "]]>", "\ud800"])
def test_whatever_a_crash_says_is_well_formed(text: str) -> None:
    (case,) = cases([plain("regressed", text, key=text)])
    message = case[0].get("message")
    assert message is not None
    assert message.startswith("regressed: ")


def test_markdown_puts_what_failed_first_folds_what_passed_and_has_the_commands() -> None:
    text = markdown([MASKS, NEW, UNCLEAR, SLOW], code=1, notes=["Compared with a file."])
    assert text.startswith(
        "## Regression gate: regressed: 1 regressed, 1 unclear, 1 new, 1 pass\n\nCompared with a file."
    )
    assert text.index("| regressed |") < text.index("| unclear |") < text.index("| new |") < text.index("<details>")
    assert text.index("<details>") < text.index("| pass |") < text.index("</details>")
    assert "4.000 [3.900, 4.100] | 3.200 [3.100, 3.300] | -20.0% [-23.0%, -17.0%] | -9.1%" in text
    assert "python -m harness.check batch=8  # direct shared batch=8" in text
    assert text.count("python -m harness.check a  # a point") == 1


def test_markdown_of_a_pass_has_no_commands() -> None:
    text = markdown([MASKS], code=0, notes=[])
    assert "To measure again" not in text
    assert "0.9991 | 0.9985 | -0.0006 | -0.0050" in text


@pytest.mark.parametrize("text", ["a|b", "line\nline", "<script>", "\\|"])
def test_no_words_break_the_markdown_table(text: str) -> None:
    lines = [line for line in markdown([plain("new", text)], code=3, notes=[]).splitlines() if line.startswith("|")]
    assert len(lines) == 3
    assert len({line.replace("\\\\", "").replace("\\|", "").count("|") for line in lines}) == 1
    assert "<script>" not in lines[2]


def test_no_words_are_a_picture_a_link_or_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = plain("new", "![x](http://127.0.0.1:9/x.png) [a](b) \x1b[2J", command="a\n```\x1b[2J")
    text = markdown([hostile, replace(hostile, state="missing")], code=3, notes=[])
    for word in ("![x", "](", "\x1b", "\n```\n\n"):
        assert word not in text.replace("```\n\n| ", "").removesuffix("```\n"), word
    print_findings([replace(hostile, state="missing")])
    assert "\x1b" not in capsys.readouterr().out


def test_the_table_shows_the_worst_first_and_the_commands_below(capsys: pytest.CaptureFixture[str]) -> None:
    print_findings([MASKS, MISSING, SLOW, plain("pass", "[red]words[/red]")])
    out = capsys.readouterr().out
    assert out.index("regressed") < out.index("missing") < out.index("pass")
    assert "to measure direct shared batch=8 again:\n  python -m harness.check batch=8\n" in out
    assert "[red]words[/red]" in out


def test_what_all_points_have_in_common_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    found = [plain("new", "", key=f"direct batch={batch} model=toy data=synthetic") for batch in (1, 8)]
    print_findings(found)
    for text in (capsys.readouterr().out, markdown(found, code=3, notes=[])):
        assert text.count("model=toy data=synthetic") == 1
        assert "batch=8" in text
    assert markdown(found[:1], code=3, notes=[]).count("direct batch=1 model=toy") == 1, "of one point all is said"


def test_the_summary_line_of_no_findings() -> None:
    assert summary_line([], 3) == "unclear: no point"
