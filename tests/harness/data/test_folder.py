from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.folder import folder_groups
from harness.data.group import Group
from strategies.errors import UserError
from tests.support.clips import real_clips
from tests.support.pictures import (
    SIZE,
    assert_one_sentence,
    halve,
    labels_with,
    write_mask,
    write_picture,
)


def write_group(folder: Path) -> None:
    """Write references a (ids 1, 4) and b (id 4), targets s, t and u, and the truth of t."""
    for name, ids in (("a", (1, 4)), ("b", (4,))):
        write_picture(folder / "refs" / f"{name}.jpg")
        write_mask(folder / "refs" / f"{name}.png", *ids)
    for name in ("s", "t", "u"):
        write_picture(folder / "targets" / f"{name}.jpg")
    write_mask(folder / "truth" / "t.png", 4, 255)


def groups_in(root: Path, **changes: object) -> list[Group]:
    options = {"references": None, "targets": None} | changes
    return folder_groups(root=root, **options)  # type: ignore[arg-type]


# --- folders -------------------------------------------------------------------------------------------------------


def test_a_folder_of_groups(tmp_path: Path) -> None:
    for name in ("second", "first"):
        write_group(tmp_path / name)
    first, second = groups_in(tmp_path)
    assert (first.name, second.name) == ("first", "second")
    assert first.object_ids == (1, 4)
    assert [frame.name for frame in first.references] == ["a", "b"]
    assert [(frame.name, frame.labels is None) for frame in first.targets] == [("s", True), ("t", False), ("u", True)]
    assert first.targets[0].image().shape == (*SIZE, 3)
    assert first.references[0].labels is not None
    assert first.targets[1].labels is not None
    np.testing.assert_array_equal(first.references[0].labels(), labels_with(1, 4))
    np.testing.assert_array_equal(first.targets[1].labels(), labels_with(4, 255))


def test_the_root_itself_may_be_the_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_group(tmp_path / "wing")
    assert [group.name for group in groups_in(tmp_path / "wing")] == ["wing"]
    monkeypatch.chdir(tmp_path / "wing")
    assert [group.name for group in groups_in(Path())] == ["wing"]


def test_limits_take_the_first(tmp_path: Path) -> None:
    write_group(tmp_path)
    (group,) = groups_in(tmp_path, references=1, targets=2)
    assert group.object_ids == (1, 4)
    assert [frame.name for frame in group.references] == ["a"]
    assert [frame.name for frame in group.targets] == ["s", "t"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (2, ["b", "d"]),
        (1, ["c"]),
        (9, list("abcde")),
        (["d", "a", "d"], ["a", "d"]),
        ("e", ["e"]),
        (None, list("abcde")),
    ],
)
def test_groups_are_taken_evenly_or_by_name(tmp_path: Path, asked: object, found: list[str]) -> None:
    for name in "abcde":
        write_group(tmp_path / name)
    assert [group.name for group in groups_in(tmp_path, groups=asked)] == found


def test_groups_that_are_not_asked_for_are_not_opened(tmp_path: Path) -> None:
    for name in ("wings", "legs", "heads"):
        write_group(tmp_path / name)
    halve(tmp_path / "heads" / "refs" / "a.png")
    assert [group.name for group in groups_in(tmp_path, groups=["wings", "legs"])] == ["legs", "wings"]


def test_a_group_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_group(tmp_path / "wings")
    with pytest.raises(UserError, match=r"data.groups=wing is not in .*did you mean wings") as caught:
        groups_in(tmp_path, groups=["wing"])
    assert_one_sentence(caught.value)


def test_sizes_and_formats_may_be_mixed(tmp_path: Path) -> None:
    sizes = {
        "a.jpg": (24, 40),
        "b.tif": (31, 17),
        "c.webp": (8, 8),
        "d.bmp": (50, 20),
        "e.JPEG": (5, 90),
        "f.png": (7, 9),
    }
    for name, size in sizes.items():
        write_picture(tmp_path / "refs" / name, size=size)
        mask = f"{name[0]}.mask.png" if name in ("a.jpg", "f.png") else f"{name[0]}.png"
        write_mask(tmp_path / "refs" / mask, 1, size=size)
        write_picture(tmp_path / "targets" / name, size=size)
    (group,) = groups_in(tmp_path)
    for frames in (group.references, group.targets):
        assert {frame.name: frame.image().shape[:2] for frame in frames} == {key[0]: sizes[key] for key in sizes}
    assert all(frame.labels and frame.labels().shape == frame.image().shape[:2] for frame in group.references)


@pytest.mark.parametrize("orientation", [6, 8])
def test_masks_are_as_large_as_the_picture_displayed(tmp_path: Path, orientation: int) -> None:
    write_group(tmp_path)
    write_picture(tmp_path / "refs" / "a.jpg", orientation=orientation)
    with pytest.raises(UserError) as error:
        groups_in(tmp_path)
    assert_one_sentence(error.value, "a.jpg", "a.png", "40x24", "24x40", "EXIF")
    write_mask(tmp_path / "refs" / "a.png", 1, 4, size=SIZE[::-1])
    reference = groups_in(tmp_path)[0].references[0]
    assert reference.labels is not None
    assert reference.labels().shape == reference.image().shape[:2] == SIZE[::-1]


def test_names_with_accents_and_spaces(tmp_path: Path) -> None:
    """The mask is found although its name was decomposed, as archives made on a Mac do."""
    folder = tmp_path / "Flügel größe 2"
    write_picture(folder / "refs" / unicodedata.normalize("NFC", "Käfer nº 1 標本.jpg"))
    write_mask(folder / "refs" / unicodedata.normalize("NFD", "Käfer nº 1 標本.png"), 3)
    write_picture(folder / "targets" / "ein schöner Käfer.v2.jpg")
    write_mask(folder / "truth" / "ein schöner Käfer.v2.png", 3)
    (group,) = groups_in(tmp_path)
    assert (group.name, group.object_ids) == ("Flügel größe 2", (3,))
    assert group.targets[0].name == "ein schöner Käfer.v2"
    assert group.targets[0].labels is not None


def test_hidden_and_other_files_are_ignored(tmp_path: Path) -> None:
    write_group(tmp_path / "wing")
    for stray in ("refs/._a.jpg", "refs/notes.txt", "targets/.DS_Store", "targets/t.xml", "truth/._s.png"):
        (tmp_path / "wing" / stray).write_bytes(b"not a picture")
    (tmp_path / "results").mkdir()
    shutil.copytree(tmp_path / "wing", tmp_path / ".trash")
    (group,) = groups_in(tmp_path)
    assert (len(group.references), len(group.targets), group.object_ids) == (2, 3, (1, 4))


def test_black_and_white_masks_are_object_1(tmp_path: Path) -> None:
    write_group(tmp_path)
    for mask in ("refs/a.png", "refs/b.png", "truth/t.png"):
        write_mask(tmp_path / mask, 255)
    (group,) = groups_in(tmp_path)
    assert group.object_ids == (1,)
    assert group.targets[1].labels is not None
    np.testing.assert_array_equal(group.targets[1].labels(), labels_with(1))


def test_truth_may_hold_ids_that_no_reference_has(tmp_path: Path) -> None:
    """`tests/harness/test_label_warnings.py` shows what becomes of them."""
    write_group(tmp_path)
    write_mask(tmp_path / "refs" / "b.png", 9)
    write_mask(tmp_path / "truth" / "t.png", 4, 9, 77)
    assert groups_in(tmp_path, references=1)[0].object_ids == (1, 4)
    (group,) = groups_in(tmp_path)
    assert group.object_ids == (1, 4, 9)
    assert group.targets[1].labels is not None
    np.testing.assert_array_equal(group.targets[1].labels(), labels_with(4, 9, 77))


def test_targets_are_not_opened_before_they_are_read(tmp_path: Path) -> None:
    write_group(tmp_path)
    halve(tmp_path / "targets" / "u.jpg")
    (group,) = groups_in(tmp_path)
    with pytest.raises(UserError) as error:
        group.targets[-1].image()
    assert_one_sentence(error.value, str(tmp_path / "targets" / "u.jpg"), "damaged")


def test_late_truth_is_checked_when_it_is_read(tmp_path: Path) -> None:
    write_group(tmp_path)
    for number in range(30):
        write_picture(tmp_path / "targets" / f"x{number:02d}.png", size=(8, 8))
        write_mask(tmp_path / "truth" / f"x{number:02d}.png", 4, size=(9, 9) if number == 29 else (8, 8))
    (group,) = groups_in(tmp_path)
    read = group.targets[-1].labels
    assert read is not None
    with pytest.raises(UserError) as error:
        read()
    assert_one_sentence(error.value, str(tmp_path / "truth" / "x29.png"), "9x9")


# --- mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"references": 3}, ["refs=3", "2"]),
        ({"references": 0}, ["refs=0"]),
    ],
)
def test_more_than_there_is_is_one_sentence(tmp_path: Path, changes: dict[str, object], named: list[str]) -> None:
    write_group(tmp_path)
    with pytest.raises(UserError) as error:
        groups_in(tmp_path, **changes)
    assert_one_sentence(error.value, *named, str(tmp_path))


def empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda root: shutil.rmtree(root), ["data.root="]),
        (lambda root: empty(root), ["data.root="]),
        (lambda root: shutil.rmtree(root / "wing" / "refs"), ["refs", "missing"]),
        (lambda root: shutil.rmtree(root / "wing" / "targets"), ["targets", "missing"]),
        (lambda root: empty(root / "wing" / "refs"), ["refs", "no pictures"]),
        (lambda root: empty(root / "wing" / "targets"), ["targets", "no pictures"]),
        (lambda root: (root / "wing/refs/a.png").unlink(), ["a.jpg", "no mask", "a.png"]),
        (lambda root: (root / "wing/refs/a.jpg").unlink(), ["a.png", "a.mask.png"]),
        (lambda root: write_mask(root / "wing/refs/z.mask.png", 1), ["z.mask.png"]),
        (lambda root: write_picture(root / "wing/refs/a.tif"), ["a.jpg", "a.tif"]),
        (lambda root: write_picture(root / "wing/targets/t.tif"), ["t.jpg", "t.tif"]),
        (lambda root: write_mask(root / "wing/refs/a.png", 1, size=(24, 41)), ["a.png", "41x24", "a.jpg", "40x24"]),
        (lambda root: write_mask(root / "wing/refs/b.png"), ["b.png", "no object"]),
        (lambda root: write_mask(root / "wing/refs/b.png", 255), ["b.png", "no object"]),
        (lambda root: halve(root / "wing/refs/b.png"), ["b.png", "damaged"]),
        (lambda root: halve(root / "wing/truth/t.png"), ["t.png", "damaged"]),
        (lambda root: write_mask(root / "wing/truth/t.png", 4, size=(9, 9)), ["truth", "t.png", "9x9", "t.jpg"]),
        (lambda root: (root / "wing/truth/t.png").rename(root / "wing/truth/tt.png"), ["truth", "s.png"]),
    ],
)
def test_mistakes_are_one_sentence(tmp_path: Path, spoil: Callable[[Path], object], named: list[str]) -> None:
    root = tmp_path / "mine"
    write_group(root / "wing")
    spoil(root)
    with pytest.raises(UserError) as error:
        groups_in(root)
    assert_one_sentence(error.value, str(root), *named)


@pytest.mark.clips
def test_a_real_clip_as_a_users_folder(tmp_path: Path) -> None:
    camvid = real_clips("camvid")
    pictures = sorted((camvid / "JPEGImages" / "480p" / "0016E5").iterdir())
    masks = sorted((camvid / "Annotations" / "480p" / "0016E5").iterdir())
    for name in ("refs", "targets", "truth"):
        (tmp_path / name).mkdir()
    for source, name in ((pictures[0], "refs"), (masks[0], "refs"), (pictures[9], "targets"), (masks[9], "truth")):
        shutil.copy(source, tmp_path / name)
    (group,) = groups_in(tmp_path)
    assert group.object_ids == tuple(range(1, 12))
    assert group.targets[0].labels is not None
    assert group.targets[0].labels().shape == group.targets[0].image().shape[:2] == (360, 480)
