"""The files of a job that is measured: pictures where a source only draws them, and masks read back and compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from harness.data.group import Frame, Group
from harness.data.images import read_image, read_labels, read_labels_of
from harness.masks.label_ious import LabelMap, object_ious
from harness.pipeline.plan import Work


def filed(group: Group, folder: Path) -> Group:
    """Return the group with files for its pictures and its references' masks: PNGs, where a source draws them.

    A PNG loses nothing, so the network sees what it sees in other scenarios. Targets lose their truth, because scoring
    masks is no part of a job's time.
    """

    def in_files(kind: str, frame: Frame) -> Frame:
        if frame.picture is not None:
            return frame
        picture = _saved(frame.image(), folder / kind / f"{frame.name}.png")
        frame = replace(frame, image=partial(read_image, picture), picture=picture)
        if frame.labels is None:
            return frame
        mask = _saved(frame.labels(), folder / f"{kind}-masks" / f"{frame.name}.png")
        return replace(frame, labels=partial(read_labels_of, picture, mask), mask=mask)

    return replace(
        group,
        references=tuple(in_files("references", frame) for frame in group.references),
        targets=tuple(in_files("targets", replace(frame, labels=None, mask=None)) for frame in group.targets),
    )


def _saved(values: np.ndarray, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path, compress_level=1)
    return path


def masks_of(work: Work) -> Iterator[LabelMap]:
    """Yield the masks that were written, in the order of the targets."""
    return (read_labels(work.mask_of(target)) for target in work.group.targets)


def pair_ious(object_ids: Sequence[int], pairs: Iterable[tuple[LabelMap, LabelMap]]) -> list[float]:
    """Return the IoU of each object in each pair of masks; of an object that is in neither it is 1."""
    return [iou for one, other in pairs for iou in object_ious(one, other, object_ids)]
