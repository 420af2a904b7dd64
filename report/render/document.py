"""What a report says, before it is Markdown or HTML: sections of paragraphs, tables, figures.

Text is plain, but for `code` between backticks and **words** between double asterisks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from matplotlib.figure import Figure

Style = Literal["plain", "code", "strong"]
MARKED = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")


@dataclass(frozen=True, kw_only=True)
class Span:
    text: str
    style: Style


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    text: str
    quiet: bool = False
    """Smaller than the rest: what explains, and what is no news."""


@dataclass(frozen=True, kw_only=True)
class Bullets:
    items: tuple[str, ...]
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Code:
    """To be typed into a shell, a line each."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """key: what a column is sorted by; None is nothing, which comes last whatever the order."""

    text: str = ""
    key: float | str | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    title: str
    words: bool = False
    """Not numbers: to the left, and sorted as text."""


@dataclass(frozen=True, kw_only=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, stored beside the report as ``name``.png, and as ``name``.svg where it is no picture.

    told: by the gid of a mark in it, what a reader learns who points at it.
    """

    name: str
    alt: str
    figure: Figure
    caption: str = ""
    told: tuple[tuple[str, str], ...] = ()
    picture: bool = False


Block = Paragraph | Bullets | Code | Table | Drawing


@dataclass(frozen=True, kw_only=True)
class Section:
    title: str
    blocks: tuple[Block, ...]

    @staticmethod
    def of(title: str, *blocks: Block | None) -> Section | None:
        """None where there is nothing to show."""
        kept = tuple(block for block in blocks if block is not None)
        return Section(title=title, blocks=kept) if kept else None


@dataclass(frozen=True, kw_only=True)
class Document:
    title: str
    sections: tuple[Section, ...]


def spans(text: str) -> list[Span]:
    """The text in pieces of one style each."""
    pieces: list[Span] = []
    end = 0
    for found in MARKED.finditer(text):
        pieces.append(Span(text=text[end : found.start()], style="plain"))
        code, strong = found.groups()
        pieces.append(Span(text=code or strong, style="code" if code else "strong"))
        end = found.end()
    pieces.append(Span(text=text[end:], style="plain"))
    return [piece for piece in pieces if piece.text]


def words(text: object) -> Cell:
    return Cell(text=str(text), key=str(text)) if _known(text) else Cell()


def number(value: object, form: str | Callable[[float], str], mark: str = "") -> Cell:
    """Empty where there is none; ``mark`` stands behind it. form: of `str.format`, or what makes the text."""
    if not isinstance(value, Real) or math.isnan(value):
        return Cell()
    text = form(float(value)) if callable(form) else form.format(float(value))
    return Cell(text=text + mark, key=float(value))


def filled(columns: Iterable[tuple[Column, Iterable[Cell]]], title: str = "", *, keep: int = 0) -> Table | None:
    """A table of columns with their cells, without those that are empty but for the first ``keep``; None without rows.

    None too where nothing but those first ones is left.
    """
    listed = [(column, tuple(cells)) for column, cells in columns]
    shown = [one for at, one in enumerate(listed) if at < keep or any(cell.text for cell in one[1])]
    if len(shown) <= keep or not shown[0][1]:
        return None
    rows = tuple(zip(*(cells for _, cells in shown), strict=True))
    return Table(columns=tuple(column for column, _ in shown), rows=rows, title=title)


def _known(value: object) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
