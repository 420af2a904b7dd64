"""Small pictures of a point's worst targets, kept in a run's folder for its report.

``pictures/<scene>/`` is shared by the points of one workload that have as many objects:

- ``<group>/``, a folder named by the group's number, because its name may not do as a file name, holds the photographs
  ``reference.png`` and ``target<t>.png``, each with its truth ``...-labels.png`` where that is known;
  ``target<t>-expected.png`` is what `sequential` predicts, and ``target<t>-<point>.png`` what the point does.
- ``<point>.json`` names the point's targets, the worst first, each with the object that agrees least with `sequential`
  and its IoU, which are null where nothing was compared.

Targets are counted from 0; truth and predictions are label maps of ids, of the photograph's size.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from harness.data.group import Frame, Group
from harness.store.atomic import write_whole
from strategies.vocabulary import Predictions

LONGEST_SIDE = 480


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Predictions of some targets of a group, on the CPU, the first of which is ``start``.

    number: the group's number. expected: `sequential`'s predictions. ious: how far each pair agrees with them,
    ``[T, O]``. Both are None where nothing is compared.
    """

    group: Group
    number: int
    start: int
    predictions: Predictions
    expected: Predictions | None = None
    ious: npt.NDArray[np.float64] | None = None

    def worst(self, index: int) -> tuple[int, float] | None:
        """Return the object of one of the targets that agrees least, and its IoU; None where nothing is compared."""
        if self.ious is None:
            return None
        at = int(self.ious[index].argmin())
        return self.predictions.object_ids[at], float(self.ious[index, at])


class PictureBook:
    """Holds a point's worst targets so far, at most ``targets``, until their pictures are written.

    They are held as predictions at the model's resolution, because photographs are opened only when the memory of
    predicting has been measured.
    """

    def __init__(self, folder: Path, *, targets: int) -> None:
        self._folder = folder / "pictures"
        self._targets = targets
        self._shots: list[_Shot] = []

    def add(self, batch: Batch) -> None:
        """Add a batch; the first targets are kept where nothing is compared, and of those that are equally bad."""
        for index in range(len(batch.predictions)):
            worst = batch.worst(index)
            iou = 1.0 if worst is None else worst[1]
            place = bisect_right(self._shots, iou, key=lambda shot: shot.iou)
            if place < self._targets:
                self._shots.insert(place, _shot(batch, index, worst))
                del self._shots[self._targets :]

    def write(self, scene: str, point: str) -> None:
        """Write each file whole or not at all, the one that names the others last, as a run may be cut off anywhere."""
        if not self._shots:
            return
        folder = self._folder / scene
        for shot in self._shots:
            shot.write(folder / str(shot.number), point)
        named = {"targets": [shot.named for shot in self._shots]}
        write_whole(folder / f"{point}.json", json.dumps(named, indent=2) + "\n")
        self._shots.clear()


@dataclass(frozen=True, kw_only=True)
class _Shot:
    """One target with its predictions. worst: the object that agrees least, and its IoU."""

    group: Group
    number: int
    target: int
    worst: tuple[int, float] | None
    predicted: Predictions
    expected: Predictions | None

    @property
    def iou(self) -> float:
        return 1.0 if self.worst is None else self.worst[1]

    @property
    def named(self) -> dict[str, object]:
        object_id, iou = self.worst or (None, None)
        return {
            "group": self.group.name,
            "number": self.number,
            "target": self.target,
            "object_id": object_id,
            "iou": iou,
        }

    def write(self, folder: Path, point: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        object_ids = self.predicted.object_ids
        _store_frame(folder / "reference.png", self.group.references[0], object_ids)
        photograph = folder / f"target{self.target}.png"
        _store_frame(photograph, self.group.targets[self.target], object_ids)
        with Image.open(photograph) as picture:
            width, height = picture.size
        for name, predictions in (("expected", self.expected), (point, self.predicted)):
            if predictions is not None:
                labels = predictions.label_map(0, size=(height, width)).numpy().astype(np.uint8)
                _save(Image.fromarray(labels), folder / f"target{self.target}-{name}.png")


def _shot(batch: Batch, index: int, worst: tuple[int, float] | None) -> _Shot:
    one = slice(index, index + 1)
    return _Shot(
        group=batch.group,
        number=batch.number,
        target=batch.start + index,
        worst=worst,
        # This is a copy, which does not keep the batch in memory.
        predicted=Predictions.concatenate([batch.predictions[one]]),
        expected=None if batch.expected is None else batch.expected[one],
    )


def _store_frame(path: Path, frame: Frame, object_ids: tuple[int, ...]) -> None:
    """Write a photograph and its truth, once; the photograph comes last, so where it exists, its truth does too."""
    if path.exists():
        return
    photograph = Image.fromarray(frame.image())
    photograph.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    if frame.labels is not None:
        labels = frame.labels()
        kept = np.where(np.isin(labels, object_ids), labels, 0).astype(np.uint8)
        truth = Image.fromarray(kept).resize(photograph.size, Image.Resampling.NEAREST)
        _save(truth, path.with_name(f"{path.stem}-labels.png"))
    _save(photograph, path)


def _save(image: Image.Image, path: Path) -> None:
    content = BytesIO()
    image.save(content, format="PNG")
    write_whole(path, content.getvalue())
