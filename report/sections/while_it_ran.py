"""The machine while points were measured: its memory, processor and GPU over time."""

from __future__ import annotations

from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from report.reading.run import Run, dig, finite
from report.render.document import Drawing, Paragraph, Section
from report.render.style import plain, styles_of, titled
from report.sections.points_table import column, points_table, text_column

CORES = "cores"
ON_CPU = {"rss_mb": "resident\nmemory (MiB)", CORES: "processor\ncores in use"}
ON_GPU = {
    "utilisation": "GPU\nutilisation (%)",
    "memory_used_mb": "GPU\nmemory (MiB)",
    "power_w": "power (W)",
    "temperature_c": "temperature\n(°C)",
    "sm_clock_mhz": "SM clock\n(MHz)",
}
MOST_POINTS = 6
MOST_VALUES = 600
"""A line has at most so many values, about as many as a panel has pixels."""
LEAST_SECONDS = 0.1
"""The processor's use is averaged over at least so many seconds, because the clock of processor time is coarse."""
SHORTEST_PHASE = 0.01
"""Phases are shown if they take more than this share of the whole time."""
PHASE_COLOURS = ("#dbe9f6", "#e5f5e0", "#fee8c8", "#efedf5", "#f0f0f0", "#fde0ef", "#e0f3f8", "#ffffe5")


def series_section(run: Run) -> Section | None:
    """Return None where nothing was sampled and the monitor left no note."""
    table = points_table(
        run,
        [
            column("gpu_util_mean"),
            column("gpu_power_w"),
            column("energy_j_per_1000"),
            column("gpu_temperature_c"),
            column("gpu_clock_mhz"),
            text_column("throttle"),
            column("foreign_processes"),
        ],
        "GPU, while the strategy ran alone",
    )
    notes = [note for note in run.stored("details", "monitor_note") if isinstance(note, str) and note]
    paragraphs = (Paragraph(text=note, quiet=True) for note in dict.fromkeys(notes))
    return Section.of("While it ran", draw_series(run), table, *paragraphs)


def draw_series(run: Run) -> Drawing | None:
    """Draw a column of panels for each strategy's longest series; returns None where no point has one."""
    chosen = _longest(run)
    quantities = _quantities([frame for _, frame in chosen])
    if not quantities:
        return None
    styles = styles_of(run.summary)
    phases = list(dict.fromkeys(name for _, frame in chosen for name, _, _ in _phases(frame)))
    tints = dict(zip(phases, PHASE_COLOURS, strict=False))
    figure = Figure(figsize=(1.2 + 2.6 * max(2, len(chosen)), 0.8 + 1.5 * len(quantities)), layout="constrained")
    panels = figure.subplots(len(quantities), len(chosen), sharex="col", sharey="row", squeeze=False)
    for column_of, (row, frame) in zip(panels.T, chosen, strict=True):
        title = f"{plain(row['label'])}\nbatch {row['batch']:.0f}, objects {row['objects']:.0f}"
        titled(column_of[0], title, 9)
        column_of[-1].set_xlabel("seconds")
        for panel, quantity in zip(column_of, quantities, strict=True):
            for name, start, end in _phases(frame):
                if name in tints:
                    panel.axvspan(start, end, color=tints[name], linewidth=0, zorder=0)
            _draw(panel, frame, quantity, styles[row["label"]].colour)
    for panel, title in zip(panels[:, 0], quantities.values(), strict=True):
        panel.set_ylabel(title, fontsize=9)
        panel.set_ylim(0, 1.08 * panel.get_ylim()[1])
        panel.ticklabel_format(axis="y", style="plain", useOffset=False)
    figure.align_ylabels(panels[:, 0])
    if tints:
        patches = [
            Patch(facecolor=tint, edgecolor="0.7", linewidth=0.5, label=plain(name)) for name, tint in tints.items()
        ]
        figure.legend(handles=patches, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    return Drawing(
        name="series",
        alt="what was sampled, over time",
        figure=figure,
        caption="Of each strategy the point with the most samples; colours behind the lines show the phases.",
    )


def _longest(run: Run) -> list[tuple[pd.Series, pd.DataFrame]]:
    """Return, for each strategy, the row and the series of the point with the most samples."""
    chosen: dict[str, tuple[pd.Series, pd.DataFrame]] = {}
    for row in run.rows.values():
        frame = _frame(dig(run.points.get(row["point"]), "details", "series"))
        if frame is None or not _quantities([frame]):
            continue
        if row["label"] not in chosen or len(frame) > len(chosen[row["label"]][1]):
            chosen[row["label"]] = row, frame
    return list(chosen.values())[:MOST_POINTS]


def _frame(series: Any) -> pd.DataFrame | None:
    """Read a stored series as a table, in order of time; returns None where it has no seconds."""
    seconds = dig(series, "seconds")
    if not isinstance(seconds, list):
        return None
    columns = {
        name: values for name, values in series.items() if isinstance(values, list) and len(values) == len(seconds)
    }
    numbers = {name: _numbers(columns[name]) for name in ("seconds", "cpu_s", *ON_CPU, *ON_GPU) if name in columns}
    phases = columns.get("phase", [""] * len(seconds))
    frame = pd.DataFrame(numbers | {"phase": [phase if isinstance(phase, str) else "" for phase in phases]})
    return frame[np.isfinite(frame["seconds"])].sort_values("seconds", kind="stable", ignore_index=True)


def _numbers(values: list[Any]) -> list[float]:
    """Replace what is no finite number by NaN."""
    return [np.nan if (number := finite(value)) is None else number for value in values]


def _quantities(frames: list[pd.DataFrame]) -> dict[str, str]:
    """Return the quantities that these series hold, by name: the GPU's where it was sampled, else the processor's."""
    for quantities in (ON_GPU, ON_CPU):
        found = {
            name: title for name, title in quantities.items() if any(len(_line(one, name)[0]) > 1 for one in frames)
        }
        if found:
            return found
    return {}


def _phases(frame: pd.DataFrame) -> list[tuple[str, float, float]]:
    """Return name, start and end of each phase that has a name and is long enough to be visible."""
    pairs = groupby(zip(frame["phase"], frame["seconds"], strict=True), key=lambda pair: pair[0])
    stretches = [(name, [seconds for _, seconds in stretch]) for name, stretch in pairs]
    least = SHORTEST_PHASE * (frame["seconds"].iloc[-1] - frame["seconds"].iloc[0])
    return [(name, when[0], when[-1]) for name, when in stretches if name and when[-1] - when[0] > least]


def _draw(panel: Axes, frame: pd.DataFrame, quantity: str, colour: str) -> None:
    seconds, values = _line(frame, quantity)
    if len(seconds):
        panel.plot(seconds, values, color=colour, linewidth=1.3, drawstyle="steps-pre" if quantity == CORES else None)
    else:
        panel.text(0.5, 0.5, "not sampled", ha="center", va="center", transform=panel.transAxes, fontsize=8)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(labelsize=8)


def _line(frame: pd.DataFrame, quantity: str) -> tuple[np.ndarray, np.ndarray]:
    """Return a quantity's seconds and values, thinned out; both are empty where it was not sampled."""
    column = "cpu_s" if quantity == CORES else quantity
    if column not in frame:
        return np.empty(0), np.empty(0)
    known = frame[frame[column].notna()]
    seconds, values = known["seconds"].to_numpy(), known[column].to_numpy()
    return _rate(seconds, values) if quantity == CORES else _thin(seconds, values)


def _rate(seconds: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a counter's rate at the end of each stretch of time; the first rate also stands at the beginning."""
    if not len(seconds):
        return seconds, values
    shortest = max(LEAST_SECONDS, (seconds[-1] - seconds[0]) / MOST_VALUES)
    kept = [0]
    for index, moment in enumerate(seconds):
        if moment - seconds[kept[-1]] >= shortest:
            kept.append(index)
    rates = np.diff(values[kept]) / np.diff(seconds[kept])
    return (seconds[kept], np.concatenate([rates[:1], rates])) if len(rates) else (rates, rates)


def _thin(seconds: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keep the least and the greatest value of each of many stretches, so that no peak is lost."""
    if len(values) <= MOST_VALUES:
        return seconds, values
    stretches = np.array_split(np.arange(len(values)), MOST_VALUES // 2)
    extremes = [stretch[pick(values[stretch])] for stretch in stretches for pick in (np.argmin, np.argmax)]
    kept = np.unique(extremes)
    return seconds[kept], values[kept]
