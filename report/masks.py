"""What the masks look like: reference, target, truth and predictions side by side."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from report.plots import plain
from report.run import Run

MASK_COLOURS = mpl.colormaps["tab20"]
MOST_PREDICTIONS = 4
BASELINE = "sequential"


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
                panel.set_title(plain(title), fontsize=8)
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
