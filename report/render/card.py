"""The picture of a page's finding, for those who see its link before they open it."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.render.document import Document, MainResult, Rank
from report.render.figures import lettered, png
from report.render.style import plain

INCHES, DPI = (12.0, 6.3), 100
"""1200 by 630 pixels, which pages that preview links show whole."""
INK, QUIET, LINE = "#16191d", "#5a626c", "#d5d9de"
BEST, OTHER, UNSOUND = "#0072b2", "#a9bccb", "#e3e6ea"
LARGE: dict[str, Any] = {"color": BEST, "fontweight": "bold"}
MOST_RANKS = 8
TITLE_WIDTH, ABOUT_WIDTH, NAME_WIDTH = 46, 72, 28
"""Letters that fit into a line."""


def draw_card(document: Document) -> bytes:
    """Draw the main result of a document as a PNG. Raises ValueError where it has none."""
    if document.main_result is None:
        raise ValueError(f"{document.title!r} has no main result to draw")
    figure = Figure(figsize=INCHES, dpi=DPI, facecolor="white")
    title = textwrap.wrap(plain(document.title), TITLE_WIDTH, max_lines=2, placeholder=" …")
    figure.text(0.05, 0.92, "\n".join(title), fontsize=25, fontweight="bold", color=INK, va="top", linespacing=1.2)
    main_result = document.main_result
    figure.text(0.05, 0.42, plain(main_result.figure), **LARGE, fontsize=84 if len(main_result.figure) < 6 else 56)
    figure.text(
        0.05, 0.34, "\n".join(textwrap.wrap(plain(main_result.of), 30, max_lines=2)), fontsize=18, color=INK, va="top"
    )
    if main_result.doubt:
        lines = textwrap.wrap(plain(main_result.doubt), 38, max_lines=2, placeholder=" …")
        figure.text(0.05, 0.2, "\n".join(lines), fontsize=14, color=QUIET, va="top")
    about = textwrap.shorten(plain(document.about), ABOUT_WIDTH, placeholder=" …")
    figure.text(0.05, 0.05, about, fontsize=14, color=QUIET)
    _bars(figure.add_axes((0.66, 0.13, 0.29, 0.56)), main_result)
    with lettered():
        return png(figure)


def _bars(panel: Axes, main_result: MainResult) -> None:
    ranks = [rank for rank in main_result.ranks if rank.value is not None][:MOST_RANKS]
    for place, rank in enumerate(ranks):
        panel.barh(place, rank.value or 0.0, height=0.62, color=_colour(rank))
        if rank.lo is not None and rank.hi is not None:
            panel.plot([rank.lo, min(rank.hi, main_result.longest)], [place, place], color=INK, linewidth=1.5)
    names = [textwrap.shorten(plain(rank.name), NAME_WIDTH, placeholder=" …") for rank in ranks]
    panel.set_yticks(range(len(ranks)), names, fontsize=13, color=INK)
    panel.set_ylim(max(len(ranks), 3) - 0.4, -0.6)
    panel.set_xlim(0, main_result.longest)
    if main_result.even is not None:
        panel.axvline(main_result.even, color=QUIET, linewidth=1, linestyle="--")
    panel.set_xlabel(plain(main_result.scale), fontsize=12, color=QUIET)
    panel.tick_params(axis="y", length=0)
    panel.tick_params(axis="x", labelsize=11, colors=QUIET)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(LINE)


def _colour(rank: Rank) -> str:
    if rank.best:
        return BEST
    return OTHER if rank.sound else UNSOUND
