"""From a target's predictions to its mask: at the picture's size, measured, and on disk."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from harness.data.group import Frame
from harness.masks.scores import frame_scores
from harness.pipeline.ledger import Labelled
from harness.pipeline.meter import Meter
from harness.pipeline.plan import Work
from harness.store.atomic import write_whole
from strategies.errors import UserError
from strategies.vocabulary import Predictions

UNSURE = 0.5
"""Confidence below which an object is flagged."""
LEVEL, RUNS = 1, 3
"""How zlib packs: at its fastest level, and looking for runs only, of which label maps are made."""
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A target whose mask is on disk. unscored: why its truth could not be used, where that is so."""

    rows: list[Labelled]
    unscored: str | None = None


def finish(
    work: Work, target: Frame, predictions: Predictions, *, size: tuple[int, int], palette: bytes, meter: Meter
) -> Finished:
    """Enlarge, measure and write the mask of a target, whose predictions are alone and on the CPU."""
    with meter.stage("enlarge"):
        labels: Labels = predictions.label_map(0, size=size, dtype=torch.uint8).numpy()
    with meter.stage("write"):
        rows = measured(work, target, predictions, labels)
        unscored = None
        if target.labels is not None:
            try:
                scores = frame_scores(work.object_ids, labels, target.labels())
                rows = [replace(row, j=scores[row.object][0], f=scores[row.object][1]) for row in rows]
            except UserError as error:
                unscored = str(error)
        write_whole(work.mask_of(target), as_png(labels, palette))
    return Finished(rows=rows, unscored=unscored)


def as_png(labels: Labels, palette: bytes) -> bytes:
    """Return a label map as an indexed PNG."""
    image = Image.fromarray(labels)
    image.putpalette(palette)
    content = BytesIO()
    image.save(content, format="PNG", compress_level=LEVEL, compress_type=RUNS)
    return content.getvalue()


def measured(work: Work, target: Frame, predictions: Predictions, labels: Labels) -> list[Labelled]:
    """Return a row for each object, in the order of the predictions.

    What the network gives no numbers for, as after an overflow of fp16, has a confidence of 0.
    """
    height, width = labels.shape
    ious = predictions.ious[0].amax(dim=-1).tolist()
    scores = predictions.object_scores[0].tolist()
    rows = []
    for object_id, score, iou in zip(predictions.object_ids, scores, ious, strict=True):
        area, x, y, box_width, box_height = box_of(labels == object_id)
        known = math.isfinite(score) and math.isfinite(iou)
        confidence = _confidence(score, iou, seen=area > 0) if known else 0.0
        rows.append(
            Labelled(
                group=work.group.name,
                target=target.name,
                picture=target.name if target.picture is None else target.picture.name,
                mask=f"{work.group.name}/{work.mask_of(target).name}",
                picture_width=width,
                picture_height=height,
                object=object_id,
                area=area,
                x=x,
                y=y,
                width=box_width,
                height=box_height,
                object_score=score if known else None,
                predicted_iou=iou if known else None,
                confidence=confidence,
                border=area > 0 and (x == 0 or y == 0 or x + box_width == width or y + box_height == height),
                flag="unsure" if confidence < UNSURE else "" if area else "absent",
                j=None,
                f=None,
            )
        )
    return rows


def _confidence(score: float, iou: float, *, seen: bool) -> float:
    present = 1 / (1 + math.exp(-max(min(score, 700.0), -700.0)))
    return min(max(iou, 0.0), 1.0) * present if seen else 1 - present


def box_of(mask: npt.NDArray[np.bool_]) -> tuple[int, int, int, int, int]:
    """Return area, left, top, width and height of a mask, all 0 where it is empty."""
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return 0, 0, 0, 0, 0
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    columns = np.flatnonzero(mask[top:bottom].any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    return int(np.count_nonzero(mask[top:bottom])), left, top, right - left, bottom - top
