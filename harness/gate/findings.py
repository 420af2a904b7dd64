"""The findings of the regression gate, for people and for machines: as a table, Markdown and JUnit XML."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from xml.etree import ElementTree

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.gate.rule import PASS, REGRESSED, UNCLEAR, Finding, State
from harness.guard import printable
from harness.row import CATALOGUE
from harness.stats.interval import Interval

WORDS = {PASS: "pass", REGRESSED: "regressed", UNCLEAR: "unclear"}
ORDER: tuple[State, ...] = ("regressed", "unclear", "missing", "new", "pass")
COLUMNS = ("state", "point", "quantity", "snapshot", "now", "change", "allowed", "")
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 can't hold, not even escaped, but that the output of a crash may."""


def summary_line(findings: Sequence[Finding], code: int) -> str:
    """Return one line with the verdict and the number of findings of each kind."""
    counts = Counter(finding.state for finding in findings)
    return f"{WORDS[code]}: " + (
        ", ".join(f"{counts[state]} {state}" for state in ORDER if counts[state]) or "no point"
    )


def print_findings(findings: Sequence[Finding]) -> None:
    """Print a table, and the commands that measure again what did not pass."""
    common = _common(findings)
    table = Table(caption=f"every point: {' '.join(common)}" if common else None)
    for name in COLUMNS:
        table.add_column(name, overflow="fold")
    for finding in _sorted(findings):
        table.add_row(*(escape(printable(cell)) for cell in _cells(finding, common)))
    console = Console(soft_wrap=True, highlight=False)
    if not console.is_terminal:  # A file or a pipe has no width to fit in.
        console.width = 250
    console.print(table)
    for key, command in _commands(findings).items():
        lines = printable(f"to measure {_without(common, key)} again:"), f"  {printable(command)}"
        console.print("\n".join(lines), markup=False)


def markdown(findings: Sequence[Finding], *, code: int, notes: Sequence[str]) -> str:
    """Return the findings as Markdown: what did not pass comes first, with its commands, and what did is folded."""
    common = _common(findings)
    parts = [f"## Regression gate: {summary_line(findings, code)}", *notes]
    if common:
        parts.append(f"Every point: {_markdown_cell(' '.join(common))}.")
    failed = [finding for finding in _sorted(findings) if finding.state != "pass"]
    passed = [finding for finding in _sorted(findings) if finding.state == "pass"]
    if failed:
        parts.append(_markdown_table(failed, common))
    commands = _commands(findings).items()
    if commands:
        lines = [printable(f"{command}  # {_without(common, key)}").replace("```", "") for key, command in commands]
        parts.append("To measure again:\n\n```sh\n" + "\n".join(lines) + "\n```")
    if passed:
        parts.append(
            f"<details><summary>{len(passed)} passed</summary>\n\n{_markdown_table(passed, common)}\n\n</details>"
        )
    return "\n\n".join(parts) + "\n"


def junit(findings: Sequence[Finding]) -> str:
    """Return a test case for each point and quantity: regressed fails; unclear, new and missing are skipped."""
    counts = Counter(finding.state for finding in findings)
    totals = {
        "name": "harness.check",
        "tests": str(len(findings)),
        "failures": str(counts["regressed"]),
        "errors": "0",
        "skipped": str(counts["unclear"] + counts["new"] + counts["missing"]),
    }
    suites = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(suites, "testsuite", totals)
    for finding in findings:
        case = ElementTree.SubElement(suite, "testcase", classname=_xml(finding.key), name=finding.quantity)
        if finding.state == "pass":
            continue
        message = _xml(f"{finding.state}: {_sentence(finding)}")
        kind = "failure" if finding.state == "regressed" else "skipped"
        ElementTree.SubElement(case, kind, message=message).text = _xml(f"{message}\n{finding.command}\n")
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _sorted(findings: Sequence[Finding]) -> list[Finding]:
    return sorted(findings, key=lambda finding: ORDER.index(finding.state))


def _commands(findings: Sequence[Finding]) -> dict[str, str]:
    """Return the commands of points of which something is regressed, unclear or missing, by key."""
    return {one.key: one.command for one in findings if one.state in ("regressed", "unclear", "missing")}


def _sentence(finding: Finding) -> str:
    if finding.comparison is None:
        return finding.detail
    _, _, _, old, new, difference, allowed, _ = _cells(finding, ())
    if finding.old is None:
        return f"{finding.quantity} over the committed code is {new}; {allowed} is allowed"
    return f"{finding.quantity} was {old} and is {new}; the change is {difference}, {allowed} is allowed"


def _common(findings: Sequence[Finding]) -> list[str]:
    """Return the words that all points' keys share where there are several points, so that they are shown once."""
    keys = list(dict.fromkeys(finding.key for finding in findings))
    if len(keys) < 2:
        return []
    return [word for word in keys[0].split(" ") if all(word in key.split(" ") for key in keys)]


def _without(common: Sequence[str], key: str) -> str:
    return " ".join(word for word in key.split(" ") if word not in common)


def _cells(finding: Finding, common: Sequence[str]) -> tuple[str, ...]:
    return (
        finding.state,
        _without(common, finding.key),
        finding.quantity,
        _interval(finding.old),
        _interval(finding.new),
        _comparison(finding),
        _allowed(finding),
        finding.detail,
    )


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return ""
    if interval.lo == interval.hi:
        return f"{interval.value:.5g}"
    return f"{interval.value:.3f} [{interval.lo:.3f}, {interval.hi:.3f}]"


def _comparison(finding: Finding) -> str:
    """Return how much more or less there is now: shares of speed and memory, differences of the rest."""
    if finding.comparison is None:
        return ""
    if (
        CATALOGUE[finding.quantity].gate == "memory"
    ):  # It is decided by old / new, and shown as how much more there is now.
        return f"{1 / finding.comparison.value - 1:+.1%}"
    if finding.quantity == "speedup":
        lo, hi = finding.comparison.lo - 1, finding.comparison.hi - 1
        return f"{finding.comparison.value - 1:+.1%} [{lo:+.1%}, {hi:+.1%}]"
    return f"{finding.comparison.value:+.4f}"


def _allowed(finding: Finding) -> str:
    if finding.least is None:
        return ""
    if CATALOGUE[finding.quantity].gate == "memory":
        return f"{1 / finding.least - 1:+.1%}"
    return f"{finding.least - 1:+.1%}" if finding.quantity == "speedup" else f"{finding.least:+.4f}"


def _markdown_table(findings: Sequence[Finding], common: Sequence[str]) -> str:
    rows = [COLUMNS, ["---"] * len(COLUMNS), *(map(_markdown_cell, _cells(finding, common)) for finding in findings)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def _markdown_cell(text: str) -> str:
    text = printable(" ".join(text.split())).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
    return text.replace("![", "!\\[").replace("](", "]\\(")  # Neither a picture nor a link comes from a run's words.


def _xml(text: str) -> str:
    return NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)
