"""Plots of a run: throughput against batch, and what the masks look like."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from PIL import Image

from report.run import Run

# Okabe and Ito's palette, told apart by colour-blind readers too; a name keeps its colour in every plot of a run.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
MASK_COLOURS = mpl.colormaps["tab20"]
MOST_PREDICTIONS = 4
BASELINE = "sequential"


def style(labels: list[str]) -> dict[str, tuple[str, str]]:
    """(colour, marker) of every strategy of a run."""
    ordered = sorted(labels)
    return {name: (COLOURS[at % len(COLOURS)], MARKERS[at % len(MARKERS)]) for at, name in enumerate(ordered)}


def plot_throughput(summary: pd.DataFrame, path: Path) -> bool:
    """Frames per second against batch, a panel for each object count; False where nothing was measured."""
    measured = summary[summary["fps"].notna() & (summary["status"] == "ok")]
    if measured.empty:
        return False
    styles = style(sorted(measured["label"].unique()))
    counts = sorted(measured["objects"].unique())
    figure = Figure(figsize=(1.5 + 3.6 * len(counts), 3.6), layout="constrained")
    panels = np.atleast_1d(np.array(figure.subplots(1, len(counts), sharey=True)))
    for panel, objects in zip(panels, counts, strict=True):
        of_count = measured[measured["objects"] == objects]
        for name, (colour, marker) in styles.items():
            line = of_count[of_count["label"] == name].groupby("batch")["fps"].max()
            if not line.empty:
                panel.plot(line.index, line.values, marker=marker, color=colour, label=name)
        _throughput_axes(
            panel, f"{int(objects)} object{'s' if objects != 1 else ''}", sorted(measured["batch"].unique())
        )
    panels[0].set_ylabel("frames per second")
    handles, names = _legend(panels)
    figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(names)), frameon=False)
    figure.savefig(path, dpi=150)
    return True


def _throughput_axes(panel: Axes, title: str, batches: list[int]) -> None:
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(batches, [str(batch) for batch in batches])
    panel.yaxis.set_major_formatter(ScalarFormatter())
    panel.set_xlabel("batch (targets)")
    panel.set_title(title, fontsize=10)
    panel.grid(visible=True, which="major", alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(panels: np.ndarray) -> tuple[list, list[str]]:
    named = {}
    for panel in panels:
        named.update(dict(zip(*reversed(panel.get_legend_handles_labels()), strict=True)))
    return list(named.values()), list(named)


def plot_masks(run: Run, path: Path) -> bool:
    """Reference, target, truth and predictions of a few targets; False where the run kept no pictures.

    Shows the scene with most objects, and of each strategy the point with the largest batch.
    """
    scenes = sorted((run.folder / "pictures").glob("*/reference.png"), key=lambda file: _objects_in(file.parent))
    if not scenes:
        return False
    scene = scenes[-1].parent
    targets = sorted(scene.glob("target[0-9].png"))  # ten are as many as a page bears
    shown = _points_of(run, scene)
    columns = 3 + len(shown)
    figure = Figure(figsize=(1.9 * columns, 1.9 * len(targets) + 0.3), layout="constrained")
    panels = np.array(figure.subplots(len(targets), columns, squeeze=False))
    for row, target in zip(panels, targets, strict=True):
        pictures = [
            ("reference", _overlay(scene / "reference.png", scene / "reference-labels.png")),
            ("target", _overlay(target, None)),
            ("truth", _overlay(target, scene / f"{target.stem}-labels.png")),
            *((name, _overlay(target, scene / f"{target.stem}-{point}.png")) for name, point in shown.items()),
        ]
        for panel, (title, picture) in zip(row, pictures, strict=True):
            panel.set_axis_off()
            if picture is None:
                panel.text(0.5, 0.5, "none", ha="center", va="center", transform=panel.transAxes)
            else:
                panel.imshow(picture)
            if row is panels[0] or target == targets[0]:
                panel.set_title(title, fontsize=8)
    figure.savefig(path, dpi=110)
    return True


def _objects_in(scene: Path) -> int:
    labels = scene / "reference-labels.png"
    return len(np.unique(np.array(Image.open(labels)))) if labels.exists() else 0


def _points_of(run: Run, scene: Path) -> dict[str, str]:
    """Strategy to the point whose predictions of the scene are shown."""
    chosen: dict[str, str] = {}
    for _, row in run.summary.sort_values("batch").iterrows():
        if (scene / f"target0-{row['point']}.png").exists():
            chosen[row["label"]] = row["point"]
    baseline_first = sorted(chosen.items(), key=lambda item: (not item[0].startswith(BASELINE), item[0]))
    return dict(baseline_first[:MOST_PREDICTIONS])


def _overlay(picture: Path, labels: Path | None) -> np.ndarray | None:
    """A picture with its objects tinted; None where there is no label map."""
    image = np.array(Image.open(picture).convert("RGB"), dtype=np.float32) / 255
    if labels is None:
        return image
    if not labels.exists():
        return None
    ids = np.array(Image.open(labels))
    tints = MASK_COLOURS((ids.astype(int) - 1) % MASK_COLOURS.N)[..., :3]
    shown = (ids > 0)[..., None]
    return np.clip(np.where(shown, 0.4 * image + 0.6 * tints, 0.6 * image), 0, 1)
