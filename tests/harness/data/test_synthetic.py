from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.group import Frame, Group
from harness.data.synthetic import synthetic_groups

few = settings(deadline=None, derandomize=True, max_examples=25)
sides = st.integers(16, 96)
seeds = st.integers(0, 2**32 - 1)


def specimens(
    *,
    count: int = 1,
    references: int = 2,
    targets: int = 2,
    objects: int = 3,
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
    absent: float = 0.1,
) -> list[Group]:
    return synthetic_groups(
        count=count, references=references, targets=targets, objects=objects, size=size, seed=seed, absent=absent
    )


def labels_of(frame: Frame) -> np.ndarray:
    assert frame.labels is not None
    return frame.labels()


def assert_same(frames: tuple[Frame, ...], others: tuple[Frame, ...]) -> None:
    for frame, other in zip(frames, others, strict=True):
        assert frame.name == other.name
        np.testing.assert_array_equal(frame.image(), other.image())
        np.testing.assert_array_equal(labels_of(frame), labels_of(other))


def ids_in(frame: Frame) -> set[int]:
    return set(np.unique(labels_of(frame)).tolist()) - {0}


@few
@given(seed=seeds, objects=st.integers(1, 12), height=sides, width=sides)
def test_the_seed_decides_every_pixel(seed: int, objects: int, height: int, width: int) -> None:
    (one,) = specimens(seed=seed, objects=objects, size=(height, width))
    (two,) = specimens(seed=seed, objects=objects, size=(height, width))
    assert_same(one.references + one.targets, two.references + two.targets)


@few
@given(seed=seeds, references=st.integers(1, 3), targets=st.integers(1, 3), groups=st.integers(1, 2))
def test_frames_stay_when_more_are_asked_for(seed: int, references: int, targets: int, groups: int) -> None:
    small = specimens(seed=seed, count=groups, references=references, targets=targets)
    large = specimens(seed=seed, count=groups + 1, references=references + 2, targets=targets + 2)
    for one, two in zip(small, large[:groups], strict=True):
        assert one.name == two.name
        assert_same(one.references, two.references[:references])
        assert_same(one.targets, two.targets[:targets])


@few
@given(seed=seeds, height=sides, width=sides, objects=st.integers(1, 8))
def test_pictures_and_labels_have_the_size_asked_for(seed: int, height: int, width: int, objects: int) -> None:
    (group,) = specimens(seed=seed, size=(height, width), objects=objects)
    for frame in (*group.references, *group.targets):
        assert (frame.image().shape, frame.image().dtype) == ((height, width, 3), np.uint8)
        assert (labels_of(frame).shape, labels_of(frame).dtype) == ((height, width), np.uint8)
        assert ids_in(frame) <= set(group.object_ids)


@few
@given(seed=seeds, objects=st.integers(1, 16), height=st.integers(48, 96), width=st.integers(48, 96))
def test_every_object_is_in_the_first_reference(seed: int, objects: int, height: int, width: int) -> None:
    (group,) = specimens(seed=seed, objects=objects, size=(height, width), absent=0.9)
    assert group.object_ids == tuple(range(1, objects + 1))
    assert ids_in(group.references[0]) == set(group.object_ids)


def test_seeds_groups_and_frames_differ() -> None:
    groups = [*specimens(count=2, seed=1), *specimens(seed=2)]
    frames = [frame for group in groups for frame in (*group.references, *group.targets)]
    assert len({frame.image().tobytes() for frame in frames}) == len(frames)


@pytest.mark.parametrize(("absent", "expected"), [(0.0, 1.0), (0.5, 0.5)])
def test_parts_are_absent_as_often_as_asked(absent: float, expected: float) -> None:
    (group,) = specimens(targets=50, objects=8, size=(64, 64), absent=absent)
    shown = sum(len(ids_in(frame)) for frame in group.targets) / (50 * 8)
    assert shown == pytest.approx(expected, abs=0.08)


def test_a_part_keeps_its_colour_more_than_it_shares_it() -> None:
    """A model has to learn that a part is more like itself in another frame than like any other part."""
    (group,) = specimens(references=1, targets=12, objects=2, size=(96, 96), seed=3, absent=0.0)

    def colour(frame: Frame, object_id: int) -> np.ndarray:
        return frame.image()[labels_of(frame) == object_id].mean(axis=0)

    known = {object_id: colour(group.references[0], object_id) for object_id in group.object_ids}
    closest = [
        min(known, key=lambda other: float(np.abs(known[other] - colour(frame, object_id)).sum())) == object_id
        for frame in group.targets
        for object_id in group.object_ids
    ]
    assert np.mean(closest) > 0.8
