"""Small pictures of a few targets, kept in a run's folder for its report: photographs, and label maps of ids."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from harness.data.group import Group
from strategies.vocabulary import Predictions

LONGEST_SIDE = 480


class PictureBook:
    """Keeps the first targets of a run's first group; ``targets`` says how many."""

    def __init__(self, folder: Path, *, targets: int) -> None:
        self._folder = folder
        self.targets = targets

    def scene(self, name: str, group: Group, object_ids: tuple[int, ...]) -> None:
        """Store the first reference and the first targets with their truth as ``pictures/<name>/``; once is enough.

        The folder is there when all is in it: a run that was cut off here is gone on with as if there were none.
        """
        folder = self._folder / "pictures" / name
        if self.targets == 0 or folder.exists():
            return
        partial = self._folder / f".pictures-{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for stem, frame in [
            ("reference", group.references[0]),
            *((f"target{index}", frame) for index, frame in enumerate(group.targets[: self.targets])),
        ]:
            image = Image.fromarray(frame.image())
            image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
            image.save(partial / f"{stem}.png")
            if frame.labels is not None:
                labels = frame.labels()
                kept = np.where(np.isin(labels, object_ids), labels, 0).astype(np.uint8)
                Image.fromarray(kept).resize(image.size, Image.Resampling.NEAREST).save(partial / f"{stem}-labels.png")
        folder.parent.mkdir(exist_ok=True)
        partial.rename(folder)

    def add(self, name: str, point: str, target: int, predictions: Predictions, index: int) -> None:
        """Store a point's prediction of one of the scene's targets; ``index`` is its place in ``predictions``."""
        folder = self._folder / "pictures" / name
        with Image.open(folder / f"target{target}.png") as picture:
            width, height = picture.size
        labels = predictions.label_map(index, size=(height, width)).cpu().numpy().astype(np.uint8)
        partial = folder / f".target{target}-{point}.partial"
        Image.fromarray(labels).save(partial, format="PNG")
        partial.replace(folder / f"target{target}-{point}.png")
