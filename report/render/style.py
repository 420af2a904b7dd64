"""The style of plots: a strategy has one colour in all plots of a run, and its marks differ without colour too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from report.render.document import UNPRINTABLE

# This is Okabe and Ito's palette, which colour-blind readers can distinguish; its yellow, too pale for print, is last.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
BASELINE, GREY = "sequential", "#7F7F7F"
"""The strategy that all others are compared with, which is grey."""
BASELINES = (BASELINE, "stream_session")
"""That of every scenario."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", ":", "-.")


SHOWN = (1e-12, 1e18)
"""Numbers beyond are no measurements, and take matplotlib minutes or overflow it."""
MOST_MARKS = 400
"""A drawing has at most so many points, because more cover each other and make a page too large."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How one label's points and lines are drawn, in matplotlib's terms."""

    colour: str
    marker: str
    line: str


def styles_of(summary: pd.DataFrame) -> dict[str, Style]:
    """Return the style of each label and family: a family has one colour, and its labels differ in mark and line."""
    found: dict[str, Style] = {}
    families = sorted(summary["family"].unique(), key=lambda family: (family in BASELINES, family))
    for at, family in enumerate(families):
        labels = sorted(summary["label"][summary["family"] == family].unique())
        for index, name in enumerate(dict.fromkeys([family, *labels])):
            place = max(0, index - (family not in labels))  # The first label has its family's style.
            found[name] = Style(
                colour=GREY if family in BASELINES else COLOURS[at % len(COLOURS)],
                marker=MARKERS[(at + at // len(COLOURS) + place) % len(MARKERS)],
                line=LINES[(at // len(COLOURS) + place) % len(LINES)],
            )
    return found


def uncrowded(points: pd.DataFrame, value: str, most: int = MOST_MARKS) -> pd.DataFrame:
    """Leave out the slower labels of points that are too many for one drawing, as `left_out_of` says.

    value: the column of speeds.
    """
    if len(points) <= most:
        return points
    fastest = points.groupby("label")[value].max().sort_values(ascending=False).index
    room = max(1, most * len(fastest) // len(points))
    return points[points["label"].isin(fastest[:room])]


def left_out_of(drawn: pd.DataFrame, points: pd.DataFrame) -> str:
    """Return a sentence, with a blank before it, on the labels that were left out of a drawing; "" where none was."""
    few, many = (one["label"].nunique() for one in (drawn, points))
    return f" Drawn are the {few} fastest of {many}." if few < many else ""


def plain(text: str) -> str:
    """Escape dollars, because matplotlib would take what is between two of them for a formula, and control characters,
    which no SVG may hold."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text).replace("$", r"\$")


def objects_title(count: float) -> str:
    return f"{count:.0f} object{'s' if count != 1 else ''}"


def positive(values: pd.Series) -> pd.Series:
    """Select the values that a logarithmic axis can show."""
    return values.between(*SHOWN)


def titled(panel: Axes, title: str, size: float) -> None:
    """Write a panel's title above it, at a fixed height: else every drawing would look for ticks there, at length."""
    panel.set_title(title, fontsize=size, y=1.0)


def tidy(panel: Axes) -> None:
    panel.grid(visible=True, which="major", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=9)


def batch_axis(panel: Axes, values: Sequence[float], title: str = "batch (targets)") -> None:
    """Make the x axis logarithmic, with a tick for each of the few values."""
    values = [value for value in values if value > 0]
    if not values:  # A summary that was edited by hand may have none.
        return
    panel.set_xscale("log", base=2)
    panel.set_xticks(list(values), [f"{value:.0f}" for value in values])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlim(min(values) / 2**0.5, max(values) * 2**0.5)
    panel.set_xlabel(title)


def label_speeds(panel: Axes, axis: Literal["x", "y"] = "y") -> None:
    """Label a logarithmic axis with numbers, however much or little it spans."""
    lined = panel.yaxis if axis == "y" else panel.xaxis
    low, high = lined.get_view_interval()
    powers = 10.0 ** np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    steps = (1,) if len(powers) > 5 else (1, 2, 5)
    ticks = [step * power for power in powers for step in steps if low <= step * power <= high]
    if len(ticks) < 3:
        ticks = [tick for tick in MaxNLocator(5).tick_values(low, high) if low <= tick <= high]
    lined.set_ticks(ticks, labels=[f"{tick:.4g}" for tick in ticks])
    lined.set_minor_locator(NullLocator())


def legend(figure: Figure, panels: Sequence[Axes]) -> None:
    """Draw one legend for all panels, below them."""
    named = {name: handle for panel in panels for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    if named:
        figure.legend(
            list(named.values()),
            list(named),
            loc="outside lower center",
            ncols=legend_columns(figure, list(named)),
            frameon=False,
            fontsize=9,
        )


def legend_columns(figure: Figure, names: Sequence[str]) -> int:
    """Return how many columns of the longest name fit side by side: a wider legend would be cut off."""
    inches = 0.6 + 0.075 * max(map(len, names))
    return max(1, min(4, len(names), int(figure.get_figwidth() / inches)))
