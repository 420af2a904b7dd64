"""Masks against ground truth: region similarity J, boundary F-measure F and their mean J&F.

The measures of the DAVIS benchmark (Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object
Segmentation", CVPR 2016): J is the IoU of the regions, F the harmonic mean of boundary precision and recall, where a
boundary pixel is matched if the other boundary comes within ``ceil(0.008 x picture diagonal)`` pixels of it. Every
frame given is counted, first and last included; the mean is over frames, then over objects.

Void pixels count for nothing. J leaves them out of both regions. F knows an edge only between two pixels that are not
void, so neither an edge inside void nor the outline of the void area itself is boundary, and nothing that is
predicted in void can change a score. (Widely used DAVIS code blanks both masks in void before it looks for edges, which
draws the outline of void into both boundaries. Without void pixels that code and this agree.)

The boundary is one pixel wide and lies on the upper or left side of an edge, so it is not mirrored exactly with its
mask: mirroring both masks of a pair may move F a little; transposing or exchanging them never does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from strategies.vocabulary import VOID

Mask = npt.NDArray[np.bool_]

TOLERANCE = 0.008
"""How far apart matching boundary pixels may be, as a share of the picture's diagonal."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Means over objects; ``jf`` is the mean of J and F.

    per_object: each object's (J, F), by "group/id"; they are means over the frames of its group.
    """

    j: float
    f: float
    jf: float
    per_object: dict[str, tuple[float, float]] = field(repr=False)


class ScoreMeter:
    """Scores predicted frames of any number of groups against labels; keeps two sums per object."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str, int], npt.NDArray[np.float64]] = {}
        self._frames: dict[str, int] = {}

    def update(
        self, group: str, object_ids: Sequence[int], predicted: npt.NDArray[np.integer], labels: npt.NDArray[np.integer]
    ) -> None:
        """Score one frame of a group by predicted and true ids, both ``[height, width]``; 255 in the truth is void.

        An object that the labels do not show has an empty truth and counts. Raises ValueError where shapes or types do
        not fit, or the ids are none, not distinct, not positive or the void label.
        """
        for identity, scores in frame_scores(object_ids, predicted, labels).items():
            self._sums.setdefault((group, identity), np.zeros(2))
            self._sums[group, identity] += scores
        self._frames[group] = self._frames.get(group, 0) + 1

    def result(self) -> Scores | None:
        """Return the scores so far; None before the first frame."""
        if not self._sums:
            return None
        means = {key: sums / self._frames[key[0]] for key, sums in self._sums.items()}
        j, f = (float(mean) for mean in np.mean(list(means.values()), axis=0))
        return Scores(
            j=j,
            f=f,
            jf=(j + f) / 2,
            per_object={
                f"{group}/{identity}": (float(row[0]), float(row[1])) for (group, identity), row in means.items()
            },
        )


def frame_scores(
    object_ids: Sequence[int], predicted: npt.NDArray[np.integer], labels: npt.NDArray[np.integer]
) -> dict[int, tuple[float, float]]:
    """Return each object's (J, F) in one frame; arguments and errors are those of `ScoreMeter.update`."""
    if not object_ids or len(set(object_ids)) != len(object_ids) or min(object_ids) <= 0 or VOID in object_ids:
        raise ValueError(f"object ids must be given, differ, be positive and not the void label: {object_ids}")
    for name, given in (("predicted", predicted), ("true", labels)):
        if given.ndim != 2 or given.dtype.kind not in "ui" or given.shape != labels.shape:
            raise ValueError(f"{name} ids {given.shape} of {given.dtype} do not fit a frame {labels.shape}")
    tolerance = boundary_tolerance(*labels.shape)
    is_void = labels == VOID
    void = is_void if is_void.any() else None
    found = {}
    for identity in object_ids:
        predicted_mask, truth = predicted == identity, labels == identity
        window = _window(predicted_mask | truth)
        arguments = predicted_mask[window], truth[window], None if void is None else void[window]
        found[identity] = region_similarity(*arguments), boundary_f(*arguments, tolerance=tolerance)
    return found


def region_similarity(predicted: Mask, truth: Mask, void: Mask | None = None) -> float:
    """Return J, the IoU of two bool ``[height, width]`` masks outside ``void``; 1 if both are empty there.

    Raises ValueError where shapes differ or a mask is not bool.
    """
    _check_alike(predicted, truth, void)
    intersection, union = predicted & truth, predicted | truth
    if void is not None:
        counted = ~void
        intersection, union = intersection & counted, union & counted
    area = np.count_nonzero(union)
    return float(np.count_nonzero(intersection) / area) if area else 1.0


def boundary(mask: Mask, void: Mask | None = None) -> Mask:
    """Return the pixels that differ from their right, lower or lower-right neighbour, bool ``[height, width]``.

    Neighbours outside the picture do not count, and neither does a difference that has ``void`` on either side.
    Raises ValueError where shapes differ or a mask is not bool.
    """
    _check_alike(mask, void)
    height, width = mask.shape
    edges = np.zeros_like(mask)
    for down, right in ((0, 1), (1, 0), (1, 1)):
        here = slice(None, max(height - down, 0)), slice(None, max(width - right, 0))
        there = slice(down, None), slice(right, None)
        differs = mask[here] ^ mask[there]
        if void is not None:
            differs &= ~(void[here] | void[there])
        edges[here] |= differs
    return edges


def boundary_tolerance(height: int, width: int) -> int:
    """Return how far apart, in pixels, matching boundary pixels of a picture of this size may be."""
    return math.ceil(TOLERANCE * math.hypot(height, width))


def boundary_f(predicted: Mask, truth: Mask, void: Mask | None = None, *, tolerance: int | None = None) -> float:
    """Return F of two bool ``[height, width]`` masks; 1 if neither has a boundary outside ``void``, 0 if only one has.

    tolerance: Euclidean, in pixels; the benchmark's for this shape if not given (give it for a part of a picture).
    Raises ValueError where shapes differ, a mask is not bool or the tolerance is negative.
    """
    _check_alike(predicted, truth, void)
    if tolerance is None:
        tolerance = boundary_tolerance(*predicted.shape)
    if tolerance < 0:
        raise ValueError(f"tolerance must not be negative: {tolerance}")
    predicted_edges, truth_edges = boundary(predicted, void), boundary(truth, void)
    predicted_count, truth_count = np.count_nonzero(predicted_edges), np.count_nonzero(truth_edges)
    if predicted_count == 0 or truth_count == 0:
        return float(predicted_count == truth_count)
    precision = np.count_nonzero(predicted_edges & _near(truth_edges, tolerance)) / predicted_count
    recall = np.count_nonzero(truth_edges & _near(predicted_edges, tolerance)) / truth_count
    return float(2 * precision * recall / (precision + recall)) if precision + recall > 0 else 0.0


def _near(edges: Mask, tolerance: int) -> Mask:
    """Return the pixels within Euclidean distance ``tolerance`` of an edge pixel.

    A disk is a stack of row segments: with the distance to the nearest edge pixel of the same row at hand, one
    comparison per row of the disk gives the exact dilation, many times faster than a distance transform.
    """
    height, width = edges.shape
    columns = np.arange(width, dtype=np.int32)
    far = np.int32(width + tolerance + 1)  # This is farther from any column than the disk reaches.
    left = np.maximum.accumulate(np.where(edges, columns, -far), axis=1)
    right = np.minimum.accumulate(np.where(edges, columns, width + far)[:, ::-1], axis=1)[:, ::-1]
    along_row = np.minimum(columns - left, right - columns)
    near = np.zeros_like(edges)
    span = min(tolerance, height - 1)
    for down in range(-span, span + 1):
        to = slice(max(down, 0), height + min(down, 0))
        source = slice(max(-down, 0), height + min(-down, 0))
        near[to] |= along_row[source] <= math.isqrt(tolerance**2 - down**2)
    return near


def _window(mask: Mask) -> tuple[slice, slice]:
    """Return the box around a mask and one more pixel on each side that has one; it is empty for an empty mask.

    Every edge of every mask inside this one has both its pixels in the box, and only distances between edges matter,
    so J and F in the box are those of the picture.
    """
    rows = np.flatnonzero(mask.any(axis=1))
    if len(rows) == 0:
        return slice(0, 0), slice(0, 0)
    columns = np.flatnonzero(mask.any(axis=0))
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(columns[0] - 1, 0), columns[-1] + 2)


def _check_alike(first: Mask, *others: Mask | None) -> None:
    given = [first, *(other for other in others if other is not None)]
    if first.ndim != 2 or any(mask.shape != first.shape for mask in given):
        raise ValueError(f"masks must be [height, width] and alike: {[mask.shape for mask in given]}")
    for mask in given:
        _check_bool(mask)


def _check_bool(mask: Mask) -> None:
    # Logits would pass for masks that are true almost everywhere.
    if mask.dtype != np.bool_:
        raise ValueError(f"masks must be bool, not {mask.dtype}")
