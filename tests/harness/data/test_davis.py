from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.davis import davis_groups
from harness.data.group import Group
from strategies.errors import UserError
from tests.support.clips import real_clips
from tests.support.pictures import SIZE, assert_one_sentence, labels_with


def write_frame(root: Path, clip: str, number: int, labels: np.ndarray | None, *, resolution: str = "480p") -> None:
    """Write a picture of shade ``number``, and its indexed mask where there are labels."""
    name = f"{number:05d}"
    picture = root / "JPEGImages" / resolution / clip / f"{name}.jpg"
    mask = root / "Annotations" / resolution / clip / f"{name}.png"
    for path in (picture, mask):
        path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (SIZE[1], SIZE[0]), (number, number, number)).save(picture, quality=95)
    if labels is not None:
        image = Image.fromarray(labels)
        image.putpalette([value for index in range(256) for value in (255 - index, index, 7 * index % 256)])
        image.save(mask)


def write_clip(
    root: Path, clip: str, *, frames: int = 10, ids: tuple[int, ...] = (1, 2), resolution: str = "480p"
) -> None:
    for number in range(frames):
        write_frame(root, clip, number, labels_with(*ids), resolution=resolution)


def davis(root: Path, **changes: object) -> list[Group]:
    options = {"clips": None, "references": 2, "targets": None, "picking": "first", "seed": 0} | changes
    return davis_groups(root=root, **options)  # type: ignore[arg-type]


def names(frames: tuple) -> list[int]:
    return [int(frame.name) for frame in frames]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"groups": 2}, ["b", "d"]),
        ({"groups": ["d", "a"]}, ["d", "a"]),
        ({"clips": ["a", "b", "c"], "groups": 1}, ["b"]),
    ],
)
def test_clips_are_taken_evenly_or_by_name(tmp_path: Path, changes: dict[str, object], found: list[str]) -> None:
    for clip in "abcde":
        write_clip(tmp_path, clip, frames=3)
    assert [group.name for group in davis(tmp_path, **changes)] == found


# --- real clips ----------------------------------------------------------------------------------------------------


@pytest.mark.clips
def test_black_and_white_masks_are_object_1() -> None:
    groups = davis(real_clips("davis16"), references=3)
    assert [group.name for group in groups] == ["blackswan", "dog", "libby"]
    for group in groups:
        assert group.object_ids == (1,)
        for frame in (*group.references, group.targets[0], group.targets[-1]):
            assert frame.labels is not None
            labels = frame.labels()
            assert frame.image().shape == (480, 854, 3)
            assert labels.shape == (480, 854)
            assert set(np.unique(labels)) == {0, 1}
    assert [len(group.references) + len(group.targets) for group in groups] == [50, 60, 49]


@pytest.mark.clips
def test_void_stays_void_where_masks_have_ids() -> None:
    (group,) = davis(real_clips("camvid"), references=1)
    assert group.object_ids == tuple(range(1, 12))
    labels = [frame.labels() for frame in group.targets[:3] if frame.labels]
    assert all(255 in map_ and map_.shape == (360, 480) for map_ in labels)


# --- which frames --------------------------------------------------------------------------------------------------


def test_first_frames_are_references_and_the_others_targets_in_order(tmp_path: Path) -> None:
    write_clip(tmp_path, "clip")
    (group,) = davis(tmp_path, references=3)
    assert names(group.references) == [0, 1, 2]
    assert names(group.targets) == [3, 4, 5, 6, 7, 8, 9]


@pytest.mark.parametrize(("references", "expected"), [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9])])
def test_even_references_spread_over_the_clip(tmp_path: Path, references: int, expected: list[int]) -> None:
    write_clip(tmp_path, "clip")
    (group,) = davis(tmp_path, references=references, picking="even")
    assert names(group.references) == expected
    assert names(group.targets) == [number for number in range(10) if number not in expected]


def test_random_references_follow_the_seed_and_grow(tmp_path: Path) -> None:
    for clip in ("one", "two"):
        write_clip(tmp_path, clip, frames=20)

    def picked(clips: list[str] | None, count: int, seed: int) -> list[int]:
        return names(davis(tmp_path, clips=clips, references=count, picking="random", seed=seed)[-1].references)

    assert len({tuple(picked(["two"], 3, seed)) for seed in range(4)}) > 1
    for seed in range(4):
        assert picked(["two"], 6, seed) == sorted(picked(["two"], 6, seed))
        assert set(picked(["two"], 3, seed)) < set(picked(["two"], 6, seed))
        assert picked(["two"], 3, seed) == picked(None, 3, seed)


@pytest.mark.parametrize("targets", range(1, 9))
def test_fewer_targets_are_spread_over_the_clip(tmp_path: Path, targets: int) -> None:
    write_clip(tmp_path, "clip")
    (group,) = davis(tmp_path, references=2, targets=targets)
    chosen = names(group.targets)
    assert len(set(chosen)) == targets
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(range(2, 10))
    gaps = np.diff([2, *chosen, 9])
    assert gaps.max() <= 8 / targets + 1


def test_frames_without_mask_are_targets_without_labels(tmp_path: Path) -> None:
    for number in range(6):
        write_frame(tmp_path, "clip", number, labels_with(4) if number % 2 else None)
    (group,) = davis(tmp_path, references=2)
    assert names(group.references) == [1, 3]
    assert {int(frame.name): frame.labels is None for frame in group.targets} == {0: True, 2: True, 4: True, 5: False}


def test_clips_come_in_the_order_asked_for_and_once(tmp_path: Path) -> None:
    for clip in ("a", "b", "c"):
        write_clip(tmp_path, clip, frames=3)
    assert [group.name for group in davis(tmp_path)] == ["a", "b", "c"]
    assert [group.name for group in davis(tmp_path, clips=["c", "a", "c"])] == ["c", "a"]


# --- layout and values ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resolutions", "taken"),
    [(["1080p"], "1080p"), (["1080p", "480p"], "480p"), (["Full", "1080p"], "1080p"), ([""], "")],
)
def test_resolution_is_found(tmp_path: Path, resolutions: list[str], taken: str) -> None:
    for resolution in resolutions:
        write_clip(tmp_path, "clip", frames=3, ids=(5,) if resolution == taken else (9,), resolution=resolution)
    assert davis(tmp_path)[0].object_ids == (5,)


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    write_clip(tmp_path, "clip", frames=3)
    folder = tmp_path / "JPEGImages" / "480p"
    for stray in ("clip/._00000.jpg", "clip/Thumbs.db", ".DS_Store", "readme.txt"):
        (folder / stray).write_bytes(b"not a picture")
    (folder / ".cache").mkdir()
    (group,) = davis(tmp_path)
    assert names((*group.references, *group.targets)) == [0, 1, 2]


def test_labels_are_indices_and_not_colours(tmp_path: Path) -> None:
    write_clip(tmp_path, "clip", frames=3, ids=(3, 200, 255))
    (group,) = davis(tmp_path)
    assert group.object_ids == (3, 200)
    assert group.targets[0].labels is not None
    np.testing.assert_array_equal(group.targets[0].labels(), labels_with(3, 200, 255))


def test_references_decide_what_255_is(tmp_path: Path) -> None:
    """A target mask of 0 and 255 shows void beside references with ids, and object 1 beside black and white ones."""
    for clip, reference in (("ids", labels_with(2)), ("white", labels_with(255))):
        write_frame(tmp_path, clip, 0, reference)
        write_frame(tmp_path, clip, 1, labels_with(255))
    ids, white = davis(tmp_path, references=1)
    assert ids.targets[0].labels is not None
    assert white.targets[0].labels is not None
    assert (ids.object_ids, set(np.unique(ids.targets[0].labels()))) == ((2,), {0, 255})
    assert (white.object_ids, set(np.unique(white.targets[0].labels()))) == ((1,), {0, 1})


def test_object_ids_are_those_of_any_reference(tmp_path: Path) -> None:
    for number, ids in enumerate([(7,), (2, 7), (9,)]):
        write_frame(tmp_path, "clip", number, labels_with(*ids))
    assert davis(tmp_path, references=2)[0].object_ids == (2, 7)


def test_one_bit_masks_are_black_and_white(tmp_path: Path) -> None:
    write_clip(tmp_path, "clip", frames=3)
    for mask in (tmp_path / "Annotations" / "480p" / "clip").iterdir():
        Image.fromarray(labels_with(1) > 0).save(mask)
    (group,) = davis(tmp_path)
    assert group.object_ids == (1,)
    assert group.references[0].labels is not None
    np.testing.assert_array_equal(group.references[0].labels(), labels_with(1))


def test_groups_travel_to_other_processes(tmp_path: Path) -> None:
    write_clip(tmp_path, "clip", frames=3)
    (group,) = pickle.loads(pickle.dumps(davis(tmp_path)))
    assert group.targets[0].image().shape == (*SIZE, 3)


def test_more_targets_than_there_are_gives_all(tmp_path: Path) -> None:
    write_clip(tmp_path, "dog")
    (group,) = davis(tmp_path, references=2, targets=99)
    assert names(group.targets) == list(range(2, 10))


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"references": 11}, ["refs=11", "10"]),
        ({"references": 10}, ["refs=10", "target"]),
        ({"references": 0}, ["refs=0"]),
        ({"clips": ["blackswam"]}, ["data.clips=blackswam", "did you mean blackswan", "dog"]),
        ({"clips": ["../dog"]}, ["data.clips=../dog"]),
        ({"clips": []}, ["data.clips="]),
        ({"picking": "last"}, ["data.picking=last", "first, even, random"]),
    ],
)
def test_what_the_files_lack_is_one_sentence(tmp_path: Path, changes: dict[str, object], named: list[str]) -> None:
    for clip in ("blackswan", "dog"):
        write_clip(tmp_path, clip)
    with pytest.raises(UserError) as error:
        davis(tmp_path, **changes)
    assert_one_sentence(error.value, *named)


@pytest.mark.parametrize("name", ["nowhere", "."])
def test_wrong_root_is_one_sentence(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    with pytest.raises(UserError) as error:
        davis(root)
    assert_one_sentence(error.value, f"data.root={root}", "JPEGImages")


def test_no_clips_at_all_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(UserError) as error:
        davis(tmp_path)
    assert_one_sentence(error.value, str(tmp_path / "JPEGImages"))


def test_empty_clip_is_one_sentence(tmp_path: Path) -> None:
    write_clip(tmp_path, "full")
    empty = tmp_path / "JPEGImages" / "480p" / "empty"
    empty.mkdir()
    with pytest.raises(UserError) as error:
        davis(tmp_path)
    assert_one_sentence(error.value, str(empty), "data.clips=")


def test_clip_without_masks_is_one_sentence(tmp_path: Path) -> None:
    for number in range(3):
        write_frame(tmp_path, "clip", number, None)
    with pytest.raises(UserError) as error:
        davis(tmp_path)
    assert_one_sentence(error.value, str(tmp_path / "Annotations" / "480p" / "clip"))


@pytest.mark.parametrize(
    ("labels", "named"), [(labels_with(), "no object"), (labels_with(1, size=(24, 41)), "41x24"), (None, "damaged")]
)
def test_bad_reference_mask_is_one_sentence(tmp_path: Path, labels: np.ndarray | None, named: str) -> None:
    write_clip(tmp_path, "clip")
    mask = tmp_path / "Annotations" / "480p" / "clip" / "00001.png"
    if labels is None:
        mask.write_bytes(mask.read_bytes()[:-40])
    else:
        Image.fromarray(labels).save(mask)
    with pytest.raises(UserError) as error:
        davis(tmp_path)
    assert_one_sentence(error.value, str(mask), named)


def test_bad_target_is_found_when_it_is_read(tmp_path: Path) -> None:
    write_clip(tmp_path, "clip", frames=4)
    picture = tmp_path / "JPEGImages" / "480p" / "clip" / "00003.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    (group,) = davis(tmp_path)
    with pytest.raises(UserError) as error:
        group.targets[-1].image()
    assert_one_sentence(error.value, str(picture))
