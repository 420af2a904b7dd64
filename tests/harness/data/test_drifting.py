from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.drifting import drifting_groups
from harness.data.group import Frame, Group
from harness.data.videos import checked_video, in_order
from strategies.errors import UserError
from tests.support.pictures import assert_one_sentence

few = settings(deadline=None, derandomize=True, max_examples=10)
seeds = st.integers(0, 2**32 - 1)


def videos(
    *,
    count: int = 1,
    frames: int = 48,
    references: int = 1,
    targets: int | None = None,
    objects: int = 3,
    late: int = 1,
    strangers: int = 1,
    vary: float = 0.25,
    size: tuple[int, int] = (48, 64),
    seed: int = 0,
) -> list[Group]:
    return drifting_groups(
        count=count,
        frames=frames,
        references=references,
        targets=targets,
        objects=objects,
        late=late,
        strangers=strangers,
        vary=vary,
        size=size,
        seed=seed,
    )


def labels_of(frame: Frame) -> np.ndarray:
    assert frame.labels is not None
    return frame.labels()


def area(frame: Frame, object_id: int) -> int:
    return int((labels_of(frame) == object_id).sum())


@few
@given(seed=seeds, objects=st.integers(1, 6), height=st.integers(16, 64), width=st.integers(16, 64))
def test_the_seed_decides_every_pixel(seed: int, objects: int, height: int, width: int) -> None:
    one, two = (videos(seed=seed, objects=objects, late=0, size=(height, width), frames=4)[0] for _ in range(2))
    for (number, frame), (same, other) in zip(in_order(one), in_order(two), strict=True):
        assert number == same
        np.testing.assert_array_equal(frame.image(), other.image())
        np.testing.assert_array_equal(labels_of(frame), labels_of(other))
        assert (frame.image().shape, frame.image().dtype) == ((height, width, 3), np.uint8)
        assert labels_of(frame).shape == (height, width)


def test_a_frame_is_the_same_picture_however_long_its_video_is_and_however_many_there_are() -> None:
    short, long = videos(frames=16, vary=0)[0], videos(frames=32, vary=0, count=3)[0]
    assert short.name == long.name
    for (number, frame), (same, other) in zip(in_order(short), in_order(long), strict=False):
        assert number == same
        np.testing.assert_array_equal(frame.image(), other.image())


def test_videos_seeds_and_frames_differ() -> None:
    groups = [*videos(count=2, frames=16, seed=1), *videos(frames=16, seed=2)]
    frames = [frame for group in groups for _, frame in in_order(group)]
    assert len({frame.image().tobytes() for frame in frames}) == len(frames)


@few
@given(seed=seeds, late=st.integers(0, 2), references=st.integers(1, 3), vary=st.sampled_from([0, 0.25, 0.5]))
def test_frames_come_in_order_and_none_is_missing(seed: int, late: int, references: int, vary: float) -> None:
    for group in videos(count=3, seed=seed, late=late, references=references, vary=vary):
        assert checked_video(group) is group
        assert [number for number, _ in in_order(group)] == list(range(len(group.references) + len(group.targets)))
        assert group.object_ids == (1, 2, 3)


def test_videos_are_shorter_than_the_first_by_the_share_asked_for() -> None:
    lengths = [len(in_order(group)) for group in videos(count=5, frames=40, vary=0.5)]
    assert lengths == [40, 35, 30, 25, 20]
    assert {len(in_order(group)) for group in videos(count=5, frames=40, vary=0)} == {40}


@few
@given(seed=seeds)
def test_a_specimen_that_appears_later_has_a_reference_of_its_own(seed: int) -> None:
    (group,) = videos(seed=seed, objects=4, late=2, references=2)
    assert group.reference_numbers == (0, 1, 8, 16)
    assert [set(np.unique(labels_of(frame)).tolist()) - {0} for frame in group.references] == [{1, 2}, {1, 2}, {3}, {4}]
    truth = dict(in_order(group))
    assert [area(truth[number], 3) for number in (2, 3)] == [0, 0]


def test_a_specimen_leaves_and_comes_back() -> None:
    for seed in range(5):
        areas = [area(frame, 1) for _, frame in in_order(videos(seed=seed, late=0)[0])]
        assert areas[0] > 0
        assert areas[15] == 0
        assert max(areas[20:]) > 0


def test_specimens_are_hidden_by_a_bar() -> None:
    (group,) = videos(objects=1, late=0, strangers=0, vary=0, frames=41, size=(64, 64))
    truth = dict(in_order(group))
    barred = [number for number in range(22, 36) if area(truth[number], 1) < area(truth[0], 1) * 0.9]
    assert barred


def test_a_stranger_is_in_the_truth_alone() -> None:
    (group,) = videos(objects=2, late=0, strangers=2)
    assert group.object_ids == (1, 2)
    assert set(np.unique(labels_of(group.references[0])).tolist()) == {0, 1, 2}
    assert {3, 4} <= set(np.unique(labels_of(group.targets[0])).tolist())


def test_targets_end_a_video_and_references_after_its_end_are_left_out() -> None:
    (group,) = videos(targets=4)
    assert group.target_numbers == (1, 2, 3, 4)
    assert group.reference_numbers == (0,)
    assert group.object_ids == (1, 2)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"frames": 9}, "data.frames=9"),
        ({"frames": 16, "vary": 0.5}, "data.frames=16"),
        ({"frames": 3, "late": 0, "references": 3}, "data.frames=3"),
        ({"late": 3}, "data.late=3"),
        ({"frames": 2_000_000}, "data.frames="),
    ],
)
def test_what_no_video_can_be_is_refused_in_one_sentence(changes: dict, named: str) -> None:
    with pytest.raises(UserError) as refused:
        videos(**changes)
    assert_one_sentence(refused.value, named)
