"""A report before it is rendered as Markdown or HTML: sections of paragraphs, tables and figures.

Text is plain except for `code` between backticks and **words** between double asterisks.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from typing import Literal

from matplotlib.figure import Figure

SpanStyle = Literal["plain", "code", "strong"]
MARKED = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")

CUT_OFF = 1.3
"""An interval is drawn up to so many times the largest value with a bar."""
CARD = "card.png"
"""The picture of a document's main result, by the name that it has beside the document."""
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters but tabs and ends of lines, with those that turn the direction of all that follows, and bytes of
names that are no UTF-8, as Python keeps them."""


@dataclass(frozen=True, kw_only=True)
class Span:
    text: str
    style: SpanStyle


@dataclass(frozen=True, kw_only=True)
class Paragraph:
    text: str
    quiet: bool = False
    """Whether it is printed smaller than the rest, as explanations and notes are."""


@dataclass(frozen=True, kw_only=True)
class Bullets:
    items: tuple[str, ...]
    quiet: bool = False


@dataclass(frozen=True, kw_only=True)
class Code:
    """Commands for a shell, one a line."""

    lines: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A table's cell.

    key: the value by which its column is sorted; a cell without one comes last in either order. link: where the text
    leads, an address relative to the page.
    """

    text: str = ""
    key: float | str | None = None
    link: str = ""


@dataclass(frozen=True, kw_only=True)
class Column:
    """A table's column.

    words: whether its cells are words, which are aligned to the left and sorted as text, and not numbers. label: what a
    page shows instead of the title, which is in its tooltip then, before ``about``, a sentence that explains it.
    """

    title: str
    words: bool = False
    label: str = ""
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Table:
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure, stored beside the report as ``name``.png, and also as ``name``.svg where it is no picture.

    tooltips: pairs of a mark's gid and the text that a browser shows where a reader points at the mark. picture:
    whether it consists of photographs, which are stored as pixels only.
    """

    name: str
    alt: str
    figure: Figure
    caption: str = ""
    tooltips: tuple[tuple[str, str], ...] = ()
    picture: bool = False


Block = Paragraph | Bullets | Code | Table | Drawing


@dataclass(frozen=True, kw_only=True)
class Section:
    title: str
    blocks: tuple[Block, ...]

    @staticmethod
    def of(title: str, *blocks: Block | None) -> Section | None:
        """Make a section of those blocks that are not None; returns None where all are."""
        kept = tuple(block for block in blocks if block is not None)
        return Section(title=title, blocks=kept) if kept else None


@dataclass(frozen=True, kw_only=True)
class Rank:
    """One of those that are ranked.

    value: what its bar shows, with the ends ``lo`` and ``hi`` of its interval; None where it has no bar, and ``text``
    says why. detail: what belongs to its name, in smaller letters. best: whether the main result is of it.
    sound: whether it may be chosen; the bars of others are pale, and ``note`` says why.
    """

    name: str
    text: str
    value: float | None = None
    lo: float | None = None
    hi: float | None = None
    detail: str = ""
    note: str = ""
    best: bool = False
    sound: bool = True


@dataclass(frozen=True, kw_only=True)
class MainResult:
    """What a page begins with: one large figure, and the ranks of everything that it was compared with.

    of: what the figure is of, as "as fast as sequential". facts: a few words each, of what goes with it. doubt: why it
    is no result yet; empty where it is one. scale: what the bars are of. even: the value at which a bar means no
    difference, which a line marks; None where there is none. left_out: how many more there are than ``ranks`` has.
    """

    figure: str
    of: str
    facts: tuple[str, ...]
    doubt: str
    scale: str
    ranks: tuple[Rank, ...]
    even: float | None = None
    left_out: int = 0

    @property
    def longest(self) -> float:
        """The value at which a bar is as long as there is room; interval ends far beyond all bars are cut off there."""
        values = [rank.value for rank in self.ranks if rank.value is not None]
        ends = [rank.hi for rank in self.ranks if rank.hi is not None]
        return min(max([*values, *ends]), CUT_OFF * max(values)) if values else 1.0


@dataclass(frozen=True, kw_only=True)
class Document:
    """A page.

    about: what it is of, below its title. main_result: None for a page that begins with its sections.
    back: the address, relative to the page, of one that lists it beside others; empty where there is none.
    """

    title: str
    sections: tuple[Section, ...]
    about: str = ""
    main_result: MainResult | None = None
    back: str = ""


def printable(text: str) -> str:
    """Spell out the characters of a rendered text that neither a terminal nor XML should get."""
    return UNPRINTABLE.sub(lambda found: repr(found[0])[1:-1], text)


def spans(text: str) -> list[Span]:
    """Split a text into pieces of one style each."""
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
    """Make a number's cell, with ``mark`` behind the number; the cell is empty where the value is no number.

    form: a format for `str.format`, or a function that returns the text.
    """
    if not isinstance(value, Real) or math.isnan(value):
        return Cell()
    text = form(float(value)) if callable(form) else form.format(float(value))
    return Cell(text=text + mark, key=float(value))


def filled(columns: Iterable[tuple[Column, Iterable[Cell]]], title: str = "", *, keep: int = 0) -> Table | None:
    """Make a table of columns with their cells; empty columns are left out, except for the first ``keep``.

    Returns None where there are no rows, or where only those first columns are left.
    """
    listed = [(column, tuple(cells)) for column, cells in columns]
    shown = [one for at, one in enumerate(listed) if at < keep or any(cell.text for cell in one[1])]
    if len(shown) <= keep or not shown[0][1]:
        return None
    rows = tuple(zip(*(cells for _, cells in shown), strict=True))
    return Table(columns=tuple(column for column, _ in shown), rows=rows, title=title)


def _known(value: object) -> bool:
    return value is not None and value != "" and not (isinstance(value, float) and math.isnan(value))
