from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image
from scipy.ndimage import distance_transform_edt

from harness.masks.scores import Mask, ScoreMeter, boundary, boundary_f, boundary_tolerance, region_similarity
from tests.support.clips import real_clips

NAMES = ("blackswan", "dog", "libby")
"""Of real clips."""
few = settings(deadline=None, derandomize=True, max_examples=40)
shapes = array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7)


def masks(count: int) -> st.SearchStrategy[Mask]:
    """Draw ``count`` masks of one shape, ``[count, height, width]``."""
    return shapes.flatmap(lambda shape: arrays(bool, (count, *shape)))


def line(pixels: str) -> Mask:
    """Return a mask of one row, in which # is object."""
    return np.array([[pixel == "#" for pixel in pixels]])


def real_labels(dataset: str, clip: str, frame: int = 0) -> np.ndarray:
    folder = real_clips(dataset) / "Annotations" / "480p" / clip
    return np.array(Image.open(sorted(folder.glob("*.png"))[frame]))


def real_mask(clip: str, frame: int = 0) -> Mask:
    return real_labels("davis16", clip, frame) > 0


def slow_boundary(mask: Mask, void: Mask) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            for v, u in ((y, x + 1), (y + 1, x), (y + 1, x + 1)):
                inside = v < height and u < width
                if inside and mask[y, x] != mask[v, u] and not void[y, x] and not void[v, u]:
                    found.append((y, x))
                    break
    return found


def slow_f(predicted: Mask, truth: Mask, void: Mask, tolerance: int) -> float:
    ours, theirs = slow_boundary(predicted, void), slow_boundary(truth, void)
    if not ours or not theirs:
        return float(not ours and not theirs)

    def matched(points: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        hits = [any((y - v) ** 2 + (x - u) ** 2 <= tolerance**2 for v, u in others) for y, x in points]
        return sum(hits) / len(points)

    precision, recall = matched(ours, theirs), matched(theirs, ours)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def test_region_similarity_by_hand() -> None:
    assert region_similarity(line("##.."), line(".##.")) == pytest.approx(1 / 3)
    assert region_similarity(line("##.."), line(".##."), void=line("#...")) == pytest.approx(1 / 2)
    assert region_similarity(line("#..."), line("...#")) == 0
    assert region_similarity(line("...."), line("....")) == 1
    assert region_similarity(line("#..."), line("...."), void=line("#...")) == 1


def test_boundary_lies_on_the_upper_left_of_an_edge() -> None:
    mask = np.zeros((4, 5), dtype=bool)
    mask[2, 2] = True
    assert np.argwhere(boundary(mask)).tolist() == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_the_end_of_the_picture_is_no_boundary() -> None:
    assert not boundary(np.ones((3, 4), dtype=bool)).any()
    corner = np.zeros((3, 3), dtype=bool)
    corner[2, 2] = True
    assert np.argwhere(boundary(corner)).tolist() == [[1, 1], [1, 2], [2, 1]]


def test_an_edge_that_touches_void_is_no_boundary() -> None:
    mask = line("...###")
    assert boundary(mask).sum() == 1
    for void in ("...#..", "..#...", "..##.."):
        assert not boundary(mask, line(void)).any()
    assert boundary(mask, line("....##")).sum() == 1


def test_boundary_f_by_hand() -> None:
    truth = line("....####")
    assert boundary_f(line("..######"), truth, tolerance=1) == 0
    assert boundary_f(line("..######"), truth, tolerance=2) == 1
    # Edges after pixels 0 and 3, truth only after 3: precision 1/2, recall 1.
    assert boundary_f(line("#...####"), truth, tolerance=0) == pytest.approx(2 / 3)


def test_tolerance_is_a_disk() -> None:
    # The edges are two 2 x 2 blocks, (0..1, 0..1) and 3 right, 4 down of it.
    predicted, truth = np.zeros((9, 9), dtype=bool), np.zeros((9, 9), dtype=bool)
    predicted[1, 1] = truth[5, 4] = True
    # Between nearest corners 2 right, 3 down: sqrt(13). Only these two of four and four match at 4; with 3 none.
    assert boundary_f(predicted, truth, tolerance=3) == 0
    assert 0 < boundary_f(predicted, truth, tolerance=4) < 1
    assert boundary_f(predicted, truth, tolerance=5) == 1


def test_boundary_f_without_boundaries() -> None:
    empty, some = line("...."), line("..##")
    assert boundary_f(empty, empty) == boundary_f(line("####"), empty) == 1
    assert boundary_f(some, empty) == boundary_f(empty, some) == 0


@pytest.mark.parametrize(("shape", "pixels"), [((480, 854), 8), ((480, 360), 5), ((1080, 1920), 18), ((3, 4), 1)])
def test_tolerance_follows_the_diagonal(shape: tuple[int, int], pixels: int) -> None:
    assert boundary_tolerance(*shape) == pixels


@few
@given(drawn=masks(3), tolerance=st.integers(0, 9))
def test_boundary_f_is_what_a_slow_matcher_finds(drawn: Mask, tolerance: int) -> None:
    predicted, truth, void = drawn
    assert boundary_f(predicted, truth, void, tolerance=tolerance) == pytest.approx(
        slow_f(predicted, truth, void, tolerance)
    )
    assert [tuple(point) for point in np.argwhere(boundary(truth, void))] == slow_boundary(truth, void)


@few
@given(drawn=masks(2))
def test_identity_scores_one(drawn: Mask) -> None:
    mask, void = drawn
    assert region_similarity(mask, mask, void) == boundary_f(mask, mask, void) == 1


@few
@given(drawn=masks(3))
def test_laws_of_region_similarity(drawn: Mask) -> None:
    predicted, truth, void = drawn
    j = region_similarity(predicted, truth, void)
    assert 0 <= j <= 1
    assert j == region_similarity(truth, predicted, void)
    for axis in (0, 1):
        assert j == region_similarity(*(np.flip(mask, axis) for mask in drawn))


@few
@given(drawn=masks(3))
def test_laws_of_boundary_f(drawn: Mask) -> None:
    predicted, truth, void = drawn
    f = boundary_f(predicted, truth, void)
    assert 0 <= f <= 1
    assert f == boundary_f(truth, predicted, void)
    assert f == boundary_f(predicted.T, truth.T, void.T)
    assert f == boundary_f(~predicted, ~truth, void)


@few
@given(drawn=masks(3))
def test_growing_tolerance_never_lowers_f(drawn: Mask) -> None:
    values = [boundary_f(*drawn, tolerance=tolerance) for tolerance in range(10)]
    assert values == sorted(values)


@few
@given(drawn=masks(5))
def test_nothing_in_void_matters(drawn: Mask) -> None:
    predicted, truth, void, other_prediction, other_truth = drawn
    changed = np.where(void, other_prediction, predicted), np.where(void, other_truth, truth), void
    assert region_similarity(*changed) == region_similarity(predicted, truth, void)
    assert boundary_f(*changed) == boundary_f(predicted, truth, void)


@few
@given(data=st.data(), shape=array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
def test_meter_scores_the_whole_picture(data: st.DataObject, shape: tuple[int, int]) -> None:
    ids = (4, 2, 9)
    frames = [
        (
            data.draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 2, 4, 9]), fill=st.just(0))),
            data.draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 2, 4, 5, 255]), fill=st.just(0))),
        )
        for _ in range(2)
    ]
    meter = ScoreMeter()
    for predicted, labels in frames:
        meter.update("group", ids, predicted, labels)
    scores = meter.result()
    assert scores is not None
    for identity in ids:
        compared = [(predicted == identity, labels == identity, labels == 255) for predicted, labels in frames]
        j, f = scores.per_object[f"group/{identity}"]
        assert j == pytest.approx(np.mean([region_similarity(*frame) for frame in compared]))
        assert f == pytest.approx(np.mean([boundary_f(*frame) for frame in compared]))
    assert scores.j == pytest.approx(np.mean([j for j, _ in scores.per_object.values()]))
    assert scores.f == pytest.approx(np.mean([f for _, f in scores.per_object.values()]))
    assert scores.jf == (scores.j + scores.f) / 2


def test_an_absent_object_counts() -> None:
    meter = ScoreMeter()
    labels = np.array([[1, 1, 0, 0]], dtype=np.uint8)
    meter.update("group", (1, 2), labels, labels)
    meter.update("group", (1, 2), np.array([[1, 1, 0, 2]], dtype=np.uint8), labels)
    scores = meter.result()
    assert scores is not None
    assert scores.per_object == {"group/1": (1.0, 1.0), "group/2": (0.5, 0.5)}
    assert scores.jf == 0.75


def test_objects_of_all_groups_count_alike() -> None:
    meter = ScoreMeter()
    labels = np.array([[1, 1, 0, 0]], dtype=np.uint8)
    for group, predicted in (("a", labels), ("a", labels), ("b", np.zeros_like(labels))):
        meter.update(group, (1,), predicted, labels)
    scores = meter.result()
    assert scores is not None
    assert scores.per_object == {"a/1": (1.0, 1.0), "b/1": (0.0, 0.0)}
    assert scores.j == 0.5


def test_nothing_scored_is_none() -> None:
    assert ScoreMeter().result() is None


def test_what_does_not_fit_is_refused() -> None:
    meter = ScoreMeter()
    labels = np.zeros((3, 4), dtype=np.uint8)
    for shape in ((4, 3), (1, 3, 4)):
        with pytest.raises(ValueError, match="do not fit"):
            meter.update("group", (1, 2), np.zeros(shape, dtype=np.uint8), labels)
    with pytest.raises(ValueError, match="float32"):
        meter.update("group", (1, 2), labels, labels.astype(np.float32))
    with pytest.raises(ValueError, match="bool"):
        meter.update("group", (1, 2), labels.astype(bool), labels)
    assert meter.result() is None
    mask = np.zeros((3, 4), dtype=bool)
    with pytest.raises(ValueError, match="alike"):
        region_similarity(mask, mask.T)
    with pytest.raises(ValueError, match="alike"):
        boundary_f(mask, mask, mask.T)
    with pytest.raises(ValueError, match="bool"):
        boundary(np.zeros((3, 4)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        boundary_f(mask, mask, tolerance=-1)


@pytest.mark.parametrize("ids", [(), (1, 1), (0, 1), (1, 255)])
def test_object_ids_must_make_sense(ids: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="object ids"):
        ScoreMeter().update("group", ids, np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.uint8))


@pytest.mark.clips
@pytest.mark.parametrize("clip", NAMES)
def test_one_pixel_beside_a_real_mask(clip: str) -> None:
    truth = real_mask(clip)
    for shift in ((0, 1), (1, 0), (-1, -1)):
        predicted = np.roll(truth, shift, axis=(0, 1))
        assert 0.9 < region_similarity(predicted, truth) < 1
        assert boundary_f(predicted, truth) == 1
        assert boundary_f(predicted, truth, tolerance=0) < 1


@pytest.mark.clips
@pytest.mark.parametrize("clip", NAMES)
def test_a_real_mask_mirrored(clip: str) -> None:
    predicted, truth = real_mask(clip, 8), real_mask(clip, 0)
    f = boundary_f(predicted, truth)
    assert 0 < f < 1
    for axis in (0, 1):
        assert boundary_f(np.flip(predicted, axis), np.flip(truth, axis)) == pytest.approx(f, abs=0.01)


@pytest.mark.clips
@pytest.mark.parametrize("clip", NAMES)
def test_boundary_f_of_real_masks_is_what_a_distance_transform_finds(clip: str) -> None:
    predicted, truth = real_mask(clip, 8), real_mask(clip, 0)
    ours, theirs = boundary(predicted), boundary(truth)
    precision = np.mean(distance_transform_edt(~theirs)[ours] <= 8)
    recall = np.mean(distance_transform_edt(~ours)[theirs] <= 8)
    assert boundary_f(predicted, truth) == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.clips
def test_meter_on_a_real_frame_with_void() -> None:
    labels, earlier = (real_labels("camvid", "0016E5", frame) for frame in (5, 0))
    ids = tuple(range(1, 12))
    assert (labels == 255).any()
    predicted = np.where(earlier == 255, 0, earlier)
    meter = ScoreMeter()
    meter.update("group", ids, predicted, labels)
    scores = meter.result()
    assert scores is not None
    for identity in ids:
        compared = predicted == identity, labels == identity, labels == 255
        assert scores.per_object[f"group/{identity}"] == (region_similarity(*compared), boundary_f(*compared))
    assert 0 < scores.j < 1
    assert not math.isnan(scores.f)
