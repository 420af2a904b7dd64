from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from harness.data.davis import davis_groups
from harness.data.folder import folder_groups
from harness.data.group import Group
from harness.data.synthetic import synthetic_groups
from harness.data.videos import checked_video, in_order
from strategies.errors import UserError
from tests.support.clips import real_clips
from tests.support.pictures import assert_one_sentence, write_mask, write_picture


def clip(root: Path, names: list[str], *, odd: str | None = None) -> None:
    """Write a clip of the DAVIS layout with a mask for every frame; ``odd`` is of another size than the others."""
    for name in names:
        size = (40, 32) if name == odd else (32, 24)
        for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
            (root / kind / "480p" / "dog").mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB" if suffix == "jpg" else "L", size, 1)
            picture.save(root / kind / "480p" / "dog" / f"{name}.{suffix}")


def streamed(root: Path, *, references: int = 1, targets: int | None = None, picking: str = "first") -> Group:
    (group,) = davis_groups(
        root=root, clips=None, references=references, targets=targets, picking=picking, seed=0, in_order=True
    )
    return group


def test_a_clip_is_a_video_from_its_first_reference_on(tmp_path: Path) -> None:
    clip(tmp_path, [f"{number:05d}" for number in range(10)])
    whole, some = checked_video(streamed(tmp_path)), checked_video(streamed(tmp_path, targets=3))
    assert (whole.reference_numbers, whole.target_numbers) == ((0,), tuple(range(1, 10)))
    assert some.target_numbers == (1, 2, 3)
    later = checked_video(streamed(tmp_path, references=2, picking="even"))
    assert (later.reference_numbers, later.target_numbers[0]) == ((2, 7), 3)
    assert [frame.name for _, frame in in_order(later)] == [f"{number:05d}" for number in range(2, 10)]


def test_frames_without_numbers_are_numbered_by_their_places(tmp_path: Path) -> None:
    clip(tmp_path, ["a", "b", "d"])
    assert checked_video(streamed(tmp_path)).target_numbers == (1, 2)


def test_a_real_clip_is_a_video() -> None:
    for group in davis_groups(
        root=real_clips("davis16"), clips=None, references=1, targets=5, picking="first", seed=0, in_order=True
    ):
        assert checked_video(group).target_numbers == (1, 2, 3, 4, 5)


# --- a user's folder -----------------------------------------------------------------------------------------------


def of_folder(root: Path, references: list[str], others: list[str], *, targets: int | None = None) -> Group:
    for folder, names in (("refs", references), ("targets", others)):
        for name in names:
            write_picture(root / "moth" / folder / f"{name}.jpg")
    for name in references:
        write_mask(root / "moth" / "refs" / f"{name}.png", 1)
    (group,) = folder_groups(root=root, references=None, targets=targets, in_order=True)
    return checked_video(group)


def test_a_folders_references_and_targets_are_one_video_in_the_order_of_their_names(tmp_path: Path) -> None:
    group = of_folder(tmp_path, ["f2", "f11"], [f"f{number}" for number in (1, 3, 8, 9, 10, 11, 12)])
    assert [frame.name for _, frame in in_order(group)] == ["f2", "f3", "f8", "f9", "f10", "f11", "f12"]
    assert (group.reference_numbers, group.target_numbers) == ((0, 5), (1, 2, 3, 4, 6)), "f1 is before any label"


def test_numbers_in_a_folders_names_are_those_of_frames(tmp_path: Path) -> None:
    group = of_folder(tmp_path, ["007"], ["008", "009", "010"], targets=2)
    assert (group.reference_numbers, group.target_numbers) == ((7,), (8, 9))


def test_a_folder_without_a_frame_that_follows_its_references_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        of_folder(tmp_path, ["labelled"], ["001", "002"])
    assert_one_sentence(error.value, "no target comes after", "labelled.jpg")


# --- what is refused -----------------------------------------------------------------------------------------------


def refused(group: Group) -> UserError:
    with pytest.raises(UserError) as error:
        checked_video(group)
    return error.value


def test_a_missing_frame_is_named(tmp_path: Path) -> None:
    clip(tmp_path, ["00000", "00001", "00003"])
    assert_one_sentence(refused(streamed(tmp_path)), "frame 2 of video dog")


def test_two_frames_of_one_number_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        of_folder(tmp_path, ["000"], ["001", "01", "002"])
    assert_one_sentence(error.value, "video moth has two frames of number 1, ", "001", "01")


def test_a_number_that_no_memory_holds_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        of_folder(tmp_path, [f"{10**20}"], [f"{10**20 + 1}"])
    assert_one_sentence(error.value, f"frame {10**20 + 1} of video moth")


def test_a_frame_of_another_size_is_named(tmp_path: Path) -> None:
    clip(tmp_path, ["00000", "00001", "00002"], odd="00002")
    assert_one_sentence(refused(streamed(tmp_path)), "00002.jpg is 40x32")


def test_a_reference_after_the_end_is_named(tmp_path: Path) -> None:
    clip(tmp_path, [f"{number:05d}" for number in range(10)])
    group = streamed(tmp_path, references=2, targets=2, picking="even")
    assert_one_sentence(refused(group), "reference 7 of video dog")


def test_a_video_of_one_frame_is_refused(tmp_path: Path) -> None:
    clip(tmp_path, ["00000"])
    with pytest.raises(UserError) as error:
        streamed(tmp_path)
    assert_one_sentence(error.value, "refs=1 leaves no target")


def test_frames_without_an_order_are_no_video() -> None:
    (group,) = synthetic_groups(count=1, references=1, targets=2, objects=1, size=(16, 16), seed=0)
    assert_one_sentence(refused(group), "scenario=stream")
    assert_one_sentence(refused(replace(group, reference_numbers=(0,))), "scenario=stream")
