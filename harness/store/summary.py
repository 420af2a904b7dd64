"""summary.csv as text: a row for each point, for people, spreadsheets and reports."""

from __future__ import annotations

import csv
import re
import sys
from collections.abc import Iterable
from dataclasses import asdict
from io import StringIO
from pathlib import Path

from harness.row import CATALOGUE, COLUMNS, Row

LONGEST_REASON = 2000
FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""The beginning of a text that a spreadsheet would run as a formula. In a file an apostrophe stands before it."""


def written(rows: Iterable[Row]) -> str:
    """Return the file of some rows. A reason of any length is cut; the point's own file has all of it."""
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _cell(name, value) for name, value in asdict(row).items()})
    return text.getvalue()


def rows_in(path: Path) -> dict[str, dict[str, str]]:
    """Read the rows that a file has, by point; there are none where it is missing or no plain file."""
    if not path.is_file():
        return {}
    csv.field_size_limit(sys.maxsize)  # In files of before reasons were cut, they have any length.
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = [{name: _text(name, cell) for name, cell in row.items()} for row in csv.DictReader(file, restval="")]
    return {row["point"]: row for row in rows if row.get("point") and row.get("status")}


def _cell(name: str, value: object) -> object:
    if not isinstance(value, str):
        return "" if value is None else value
    if name == "reason" and len(value) > LONGEST_REASON:
        value = f"{value[:LONGEST_REASON]}... ({len(value):,} characters; the point's file has all of them)"
    return harmless(value)


def harmless(text: str) -> str:
    """Return a text as a cell that no spreadsheet runs."""
    return f"'{text}" if FORMULA.match(text) else text


def _text(name: str, cell: str) -> str:
    is_text = name in CATALOGUE and CATALOGUE[name].kind is str
    return cell[1:] if is_text and cell.startswith("'") and FORMULA.match(cell) else cell
