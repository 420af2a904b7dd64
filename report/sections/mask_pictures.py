"""Pictures of the masks in which strategies agree least with `sequential`: reference, target, truth, predictions.

A run keeps pictures of each point's worst targets over all groups; `harness.masks.pictures` says where.
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import binary_dilation

from harness.schema import read_object
from report.reading.run import Run, dig, finite
from report.render.document import Drawing
from report.render.style import BASELINE, plain, titled
from report.sections.where_they_agree_least import IOU, Worst, taken_in_turns, worst_of

MASK_COLOURS = mpl.colormaps["tab20"]
DIFFERENT = np.array([0.835, 0.369, 0.0])
"""The colour of differing pixels on a grey picture, vermilion (RGB, 0 to 1)."""
WIDEN = 70
"""Differing pixels are widened by the picture's longer side divided by this, so that single ones can be seen."""
MOST_ROWS = 6
MOST_LINES, LETTERS = 3, 18
"""A name beside a row has at most so many lines, and a line so many letters."""
SIZE = 10
MOST_PIXELS = 1 << 24
"""Larger pictures are not those that a run keeps, and would fill the memory."""

Labels = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A target of which the run has pictures, in its group's folder."""

    worst: Worst
    folder: Path

    @property
    def iou(self) -> float:
        return self.worst.iou

    @property
    def target(self) -> Path:
        return self.folder / f"target{self.worst.target}.png"

    def labels(self, name: str) -> Labels | None:
        """Read a label map; returns None where it is missing or damaged.

        name: ``labels`` for the ground truth, ``expected`` for the prediction of `sequential`, or a point's name for
        its prediction.
        """
        return _labels(self.target.with_name(f"{self.target.stem}-{name}.png"))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the figure.

    beside: the text to its left. panels: pictures by the names of the columns, None where a run has no such picture.
    pixels: how many differ.
    """

    beside: str
    panels: dict[str, np.ndarray | None]
    pixels: int | None


def draw_masks(run: Run) -> Drawing | None:
    """Draw the worst targets of each strategy that differs, or a few of one point where none does.

    Returns None without pictures.
    """
    points = _pictured(run)
    differing = [shots for shots in points if shots[0].iou < 1]
    shown = taken_in_turns(_one_of_each_label(differing), MOST_ROWS) if differing else _example(points)
    rows = [row for shot in shown if (row := _row(shot)) is not None]
    if not rows:
        return None
    columns = [name for name in rows[0].panels if any(row.panels[name] is not None for row in rows)]
    figure = Figure(figsize=(1.6 * len(columns) + 1.7, 1.7 * len(rows) + 0.3), layout="constrained")
    for axes, row in zip(figure.subplots(len(rows), len(columns), squeeze=False), rows, strict=True):
        for panel, name in zip(axes, columns, strict=True):
            _show(panel, row.panels[name], name if row is rows[0] else "")
        axes[0].set_ylabel(row.beside, fontsize=SIZE, rotation=0, ha="right", va="center")
        if row.pixels is not None:
            axes[-1].set_xlabel(f"{row.pixels:,} px", fontsize=SIZE)
    return Drawing(
        name="masks",
        alt="reference, target, truth and predictions, and where they differ",
        figure=figure,
        caption=_caption(run, differs=bool(differing)),
        picture=True,
    )


def _caption(run: Run, *, differs: bool) -> str:
    if differs:
        return (
            f"Where strategies agree least with `{BASELINE}`, each by its point with the largest batch of those that "
            "differ; targets are counted from 0, and the object is the one that agrees least. Orange marks, widened, "
            "pixels where the strategy has another object or none."
        )
    ious, targets = run.summary["iou_min"].dropna(), run.stored("details", "agreement", "targets")
    counts = sorted({int(count) for count in map(finite, targets) if count is not None})
    if len(ious) == 0 or (ious < 1).any() or (run.summary["status"] == "wrong").any() or not counts:
        return "The first targets."
    compared = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return (
        f"The first targets. In none of the {compared} that each point was compared on does any strategy's mask differ "
        f"from that of `{BASELINE}`, at the model's resolution."
    )


def _pictured(run: Run) -> list[list[Shot]]:
    """Return the targets of each point that has pictures, the worst first."""
    named = {path.stem: path for path in sorted((run.folder / "pictures").glob("*/*.json"))}
    finished = run.summary[run.summary["status"].isin(["ok", "wrong"])]
    points = [_shots(row, named[row["point"]]) for _, row in finished.iterrows() if row["point"] in named]
    return [shots for shots in points if shots]


def _shots(row: pd.Series, named: Path) -> list[Shot]:
    stored = dig(read_object(named), "targets")
    shots = []
    for one in stored if isinstance(stored, list) else []:
        worst, number = worst_of(row, one), dig(one, "number")
        if worst is not None and isinstance(number, int):
            shots.append(Shot(worst=worst, folder=named.parent / str(number)))
    return sorted(shots, key=lambda shot: shot.iou)


def _one_of_each_label(points: Iterable[list[Shot]]) -> list[list[Shot]]:
    """Return, for each label, the differing targets of its point with the largest batch; of several, the worst."""
    chosen: dict[str, list[Shot]] = {}
    for shots in sorted(points, key=lambda shots: (-_batch(shots), shots[0].iou)):
        chosen.setdefault(shots[0].worst.row["label"], [shot for shot in shots if shot.iou < 1])
    return list(chosen.values())


def _example(points: list[list[Shot]]) -> list[Shot]:
    """Return targets of the point with the largest batch, of another strategy than `sequential` where one exists."""
    ordered = sorted(points, key=lambda shots: (shots[0].worst.row["family"] == BASELINE, -_batch(shots)))
    return ordered[0][:MOST_ROWS] if ordered else []


def _batch(shots: list[Shot]) -> float:
    return finite(shots[0].worst.row["batch"]) or 0


def _row(shot: Shot) -> Row | None:
    """Return None without the photograph."""
    picture = _picture(shot.target)
    if picture is None:
        return None
    reference = _picture(shot.folder / "reference.png")
    expected, predicted = shot.labels("expected"), shot.labels(shot.worst.row["point"])
    different = _different(expected, predicted)
    difference = None if different is None else _difference(picture, different)
    return Row(
        beside=_beside(shot),
        panels={
            "reference": _overlay(reference, _labels(shot.folder / "reference-labels.png")),
            "target": picture,
            "truth": _overlay(picture, shot.labels("labels")),
            BASELINE: _overlay(picture, expected),
            "the strategy": _overlay(picture, predicted),
            "difference": difference,
        },
        pixels=None if different is None or difference is None else int(different.sum()),
    )


def _beside(shot: Shot) -> str:
    """Return the text to the left of a row."""
    worst = shot.worst
    lines = [*_wrapped(worst.row["label"]), *_wrapped(worst.group), f"target {worst.target}"]
    if worst.iou < 1:
        lines += [f"object {worst.object_id}:", f"IoU {IOU.format(worst.iou)}"]
    return plain("\n".join(lines))


def _wrapped(name: str) -> list[str]:
    return textwrap.wrap(name, LETTERS, max_lines=MOST_LINES, placeholder=" …")


def _picture(path: Path) -> np.ndarray | None:
    """Read a picture (RGB, 0 to 1); returns None where it is missing or damaged."""
    image = _image(path, "RGB")
    return None if image is None else image.astype(np.float32) / 255


def _labels(path: Path) -> Labels | None:
    return _image(path, "L")


def _image(path: Path, mode: str) -> np.ndarray | None:
    if not path.is_file():  # A pipe would keep its reader waiting.
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return None if image.width * image.height > MOST_PIXELS else np.array(image.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # Some damaged files are SyntaxErrors.
        return None


def _overlay(picture: np.ndarray | None, labels: Labels | None) -> np.ndarray | None:
    """Tint a picture's objects; returns None where there is no label map."""
    if picture is None or labels is None or labels.shape != picture.shape[:2]:
        return None
    tints = MASK_COLOURS((labels.astype(int) - 1) % MASK_COLOURS.N)[..., :3]
    objects = (labels > 0)[..., None]
    return np.clip(np.where(objects, 0.4 * picture + 0.6 * tints, 0.6 * picture), 0, 1)


def _different(expected: Labels | None, predicted: Labels | None) -> np.ndarray | None:
    if expected is None or predicted is None or expected.shape != predicted.shape:
        return None
    return expected != predicted


def _difference(picture: np.ndarray, different: np.ndarray) -> np.ndarray | None:
    if different.shape != picture.shape[:2]:
        return None
    grey = np.repeat(0.7 + 0.3 * picture.mean(axis=2, keepdims=True), 3, axis=2)
    if different.any():  # A single pixel would hardly be visible.
        different = binary_dilation(different, iterations=max(1, max(different.shape) // WIDEN))
    return np.where(different[..., None], DIFFERENT, grey)


def _show(panel: Axes, image: np.ndarray | None, title: str) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    if image is None:
        panel.text(0.5, 0.5, "none", ha="center", va="center", transform=panel.transAxes, fontsize=SIZE)
    else:
        panel.imshow(image)
    if title:
        titled(panel, title, SIZE)
