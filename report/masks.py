"""What masks look like: reference, target, truth, predictions side by side, and where they differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import binary_dilation

from report.document import Drawing
from report.run import Run
from report.style import BASELINE, plain

MASK_COLOURS = mpl.colormaps["tab20"]
DIFFERENT = np.array([0.835, 0.369, 0.0])
"""Vermilion, on a grey picture."""
WIDEN = 70
"""Marks of differing pixels are wider than they are by so manieth of the picture."""
MOST_PREDICTIONS = 4
MOST_TARGETS = 6

Labels = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A target with its predictions, by label; differing: of each, how many pixels are not as the baseline has them."""

    target: Path
    predictions: dict[str, Labels]
    differing: dict[str, int]

    @property
    def worst(self) -> int:
        return max(self.differing.values(), default=0)


def draw_masks(run: Run) -> Drawing | None:
    """Of the scene in which most differs, its targets, those with most differing pixels first; None without pictures.

    Of each strategy the point with the largest batch. A run keeps pictures of the first targets of its first group.
    """
    scenes = [file.parent for file in sorted((run.folder / "pictures").glob("*/reference.png"))]
    shots = {scene: _shots(run, scene) for scene in scenes}
    shots = {scene: found for scene, found in shots.items() if found}
    if not shots:
        return None
    scene = max(shots, key=lambda one: (max(shot.worst for shot in shots[one]), _objects_in(one)))
    shown = shots[scene][:MOST_TARGETS]
    names = _columns(shown)
    odd = _oddest(shown)
    columns = ["reference", "target", "truth", *names, *([f"difference:\n{odd}"] if odd else [])]
    figure = Figure(figsize=(1.7 * len(columns), 1.7 * len(shown) + 0.4), layout="constrained")
    for row, shot in zip(figure.subplots(len(shown), len(columns), squeeze=False), shown, strict=True):
        picture = _picture(shot.target)
        pictures = [
            _overlay(_picture(scene / "reference.png"), _labels(scene / "reference-labels.png")),
            picture,
            _overlay(picture, _labels(scene / f"{shot.target.stem}-labels.png")),
            *(_overlay(picture, shot.predictions.get(name)) for name in names),
            *([_difference(picture, shot, odd)] if odd else []),
        ]
        for panel, title, image in zip(row, columns, pictures, strict=True):
            _show(panel, image, title if shot is shown[0] else "")
            if title.startswith("difference") and odd in shot.differing:
                panel.set_xlabel(f"{shot.differing[odd]:,} px", fontsize=8)
    return Drawing(name="masks", alt=_alt(odd), figure=figure, caption=_caption(shown, odd), picture=True)


def _alt(odd: str) -> str:
    return "reference, target, truth and predictions" + (", and where they differ" if odd else "")


def _caption(shown: list[Shot], odd: str) -> str:
    of_what = "Targets of the first group, of which the run kept pictures"
    if odd:
        return (
            f"{of_what}, those that differ most from `{BASELINE}` first; orange marks, widened, pixels where `{odd}` "
            "has another object or none."
        )
    if any(shot.differing for shot in shown):
        return f"{of_what}; in none of them does any pixel differ from `{BASELINE}`."
    return f"{of_what}."


def _shots(run: Run, scene: Path) -> list[Shot]:
    shots = []
    for target in sorted(scene.glob("target[0-9].png")):
        if _picture(target) is None:
            continue
        predictions: dict[str, Labels] = {}
        for _, row in run.summary.sort_values("batch").iterrows():
            labels = _labels(scene / f"{target.stem}-{row['point']}.png")
            if labels is not None:
                predictions[row["label"]] = labels
        baseline = next((labels for name, labels in predictions.items() if name.startswith(BASELINE)), None)
        differing = {
            name: int((labels != baseline).sum())
            for name, labels in predictions.items()
            if baseline is not None and labels.shape == baseline.shape and not name.startswith(BASELINE)
        }
        shots.append(Shot(target=target, predictions=predictions, differing=differing))
    return sorted(shots, key=lambda shot: (-shot.worst, shot.target.name))


def _columns(shown: list[Shot]) -> list[str]:
    """The baseline, then those that differ most."""
    names = {name for shot in shown for name in shot.predictions}
    pixels = {name: sum(shot.differing.get(name, 0) for shot in shown) for name in names}
    ordered = sorted(names, key=lambda name: (not name.startswith(BASELINE), -pixels[name], name))
    return ordered[:MOST_PREDICTIONS]


def _oddest(shown: list[Shot]) -> str:
    """Who differs most, anywhere; empty where nobody does."""
    first = next((shot for shot in shown if shot.worst), None)
    return "" if first is None else max(first.differing, key=lambda name: first.differing[name])


def _objects_in(scene: Path) -> int:
    labels = _labels(scene / "reference-labels.png")
    return 0 if labels is None else len(np.unique(labels))


def _picture(path: Path) -> np.ndarray | None:
    """None where it is missing or damaged."""
    try:
        return np.array(Image.open(path).convert("RGB"), dtype=np.float32) / 255
    except OSError:
        return None


def _labels(path: Path) -> Labels | None:
    try:
        return np.array(Image.open(path).convert("L"))
    except OSError:
        return None


def _overlay(picture: np.ndarray | None, labels: Labels | None) -> np.ndarray | None:
    """A picture with its objects tinted; None where there is no label map."""
    if picture is None or labels is None or labels.shape != picture.shape[:2]:
        return None
    tints = MASK_COLOURS((labels.astype(int) - 1) % MASK_COLOURS.N)[..., :3]
    shown = (labels > 0)[..., None]
    return np.clip(np.where(shown, 0.4 * picture + 0.6 * tints, 0.6 * picture), 0, 1)


def _difference(picture: np.ndarray | None, shot: Shot, odd: str) -> np.ndarray | None:
    baseline = next((labels for name, labels in shot.predictions.items() if name.startswith(BASELINE)), None)
    if picture is None or baseline is None or odd not in shot.differing:
        return None
    grey = np.repeat(0.7 + 0.3 * picture.mean(axis=2, keepdims=True), 3, axis=2)
    different = shot.predictions[odd] != baseline
    if different.any():  # a single pixel would hardly be seen
        different = binary_dilation(different, iterations=max(1, max(different.shape) // WIDEN))
    return np.where(different[..., None], DIFFERENT, grey) if different.shape == grey.shape[:2] else None


def _show(panel: Axes, image: np.ndarray | None, title: str) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    panel.spines[:].set_visible(False)
    if image is None:
        panel.text(0.5, 0.5, "none", ha="center", va="center", transform=panel.transAxes, fontsize=8)
    else:
        panel.imshow(image)
    if title:
        panel.set_title(plain(title), fontsize=8)
