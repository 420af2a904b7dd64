"""A user's own pictures as groups.

``root/<group>/refs`` holds pictures, each with its mask, ``root/<group>/targets`` pictures, and
``root/<group>/truth``, which may be missing, masks named like targets. ``root`` itself may be the one group. The mask
of a reference ``x.jpg`` is ``x.png`` or ``x.mask.png``; that of a reference ``x.png`` is ``x.mask.png``. Sizes may be
mixed. Hidden files and files that are not pictures are ignored.

A mask's values are object ids, 0 is background and 255 void, except in groups of which no reference mask has a value
in 1..254: there 255 is object 1, as in masks that are saved black and white. Ids in truth/ that no reference in use
has are background.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.data.group import Frame, Group, OnBroken, chosen, opened
from harness.data.images import check_count, read_image, read_labels_of, reference_objects
from harness.data.videos import numbers_of, order_of
from strategies.errors import UserError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
TRUTH_READ_EARLY = 20
"""How many masks in truth/ are checked before anything runs; the others are checked when they are read.

A wrong size is nearly always wrong throughout, so a few files show it; thousands would be read anew by every process.
"""


def folder_groups(
    *,
    root: Path,
    references: int | None,
    targets: int | None,
    groups: int | Sequence[str] | None = None,
    in_order: bool = False,
    on_broken: OnBroken | None = None,
) -> list[Group]:
    """Return the groups in ``root``, sorted by name.

    references: how many references each group has, the first ones by name; all where it is None.
    targets: how many targets each group has at most, the first ones by name; all where it is None.
    groups: names of groups, or how many at most, evenly spread; all where it is None.
    in_order: whether groups are videos, whose references and targets together are frames in the order of their names: a
        video begins with its first reference, and a target that has a reference's name is that frame.

    Every reference mask of a group is read, asked for or not, so that the meaning of its masks does not depend on how
    many are asked for; targets are not opened.
    Raises `UserError` where the files do not hold what is asked for; with ``on_broken``, where no group does.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} is not a folder: give the one that holds your groups")
    if (root / "refs").is_dir():
        folders = [root]
    else:
        children = (path for path in root.iterdir() if path.name[0] != ".")
        folders = sorted(path for path in children if (path / "refs").is_dir() or (path / "targets").is_dir())
    if not folders:
        raise UserError(
            f"data.root={root} has no group: give each a folder there, with its pictures in refs and targets"
        )
    asked = set(chosen([path.resolve().name for path in folders], groups, where=root))
    folders = [path for path in folders if path.resolve().name in asked]
    opening = partial(_group, references=references, targets=targets, in_order=in_order)
    openings = ((path.name, partial(opening, path)) for path in folders)
    return opened(openings, on_broken)


def _group(folder: Path, *, references: int | None, targets: int | None, in_order: bool) -> Group:
    pairs = _references(folder / "refs")
    target_pictures = _targets(folder / "targets")
    if references is not None:
        check_count("refs", references, available=len(pairs), what=f"labelled pictures in {folder / 'refs'}")
    if in_order:
        pairs.sort(key=lambda pair: order_of(pair[0]))
    ids, binary = reference_objects(pairs)
    object_ids = sorted(set().union(*ids[:references]))
    truth = _truth(folder / "truth", target_pictures)
    labelled = [picture for picture, _ in pairs[:references]]
    if in_order:
        target_pictures = _following(target_pictures, labelled)
    chosen = target_pictures[:targets]
    number_of = numbers_of(sorted([*labelled, *chosen], key=order_of)) if in_order else {}
    truth_of = {
        picture: partial(read_labels_of, picture, truth[picture], binary=binary)
        for picture in chosen
        if picture in truth
    }
    for read in list(truth_of.values())[:TRUTH_READ_EARLY]:
        read()
    return Group(
        name=folder.resolve().name,
        object_ids=tuple(object_ids),
        references=tuple(
            Frame(
                name=picture.stem,
                image=partial(read_image, picture),
                labels=partial(read_labels_of, picture, mask, binary=binary),
                picture=picture,
                mask=mask,
            )
            for picture, mask in pairs[:references]
        ),
        targets=tuple(
            Frame(
                name=picture.stem,
                image=partial(read_image, picture),
                labels=truth_of.get(picture),
                picture=picture,
                mask=truth.get(picture),
            )
            for picture in chosen
        ),
        reference_numbers=tuple(number_of[picture] for picture in labelled if in_order),
        target_numbers=tuple(number_of[picture] for picture in chosen if in_order),
    )


def _following(targets: list[Path], references: list[Path]) -> list[Path]:
    """Return a video's targets that come after its first reference and are none of its references, in their order."""
    labelled = set(map(_name, references))
    later = [picture for picture in targets if order_of(picture) > order_of(references[0])]
    following = sorted((picture for picture in later if _name(picture) not in labelled), key=order_of)
    if not following:
        raise UserError(
            f"no target comes after {references[0]}, as frames of a video are in the order of their names: name "
            "references so that they come before the targets or among them"
        )
    return following


def _references(folder: Path) -> list[tuple[Path, Path]]:
    """Return the (picture, mask) pair of each reference, sorted by name."""
    pictures: dict[str, list[Path]] = {}
    masks: dict[str, Path] = {}
    for path in _picture_files(folder, "put labelled pictures there"):
        name = _name(path)
        if name.endswith(".mask") and _is_png(path):
            masks[name.removesuffix(".mask")] = path
        else:
            pictures.setdefault(name, []).append(path)

    pairs = []
    for name, files in pictures.items():
        mask = masks.pop(name, None)
        if mask is None and len(files) > 1:  # An x.png beside x.jpg is its mask.
            mask = next(filter(_is_png, files), None)
            files = [path for path in files if path != mask]
        if len(files) > 1:
            raise UserError(f"{files[0]} and {files[1].name} share a name and a mask: rename one of them")
        picture = files[0]
        if mask is None and _is_png(picture):
            raise UserError(
                f"{picture} is alone: if it is a picture add its mask {picture.stem}.mask.png, "
                "and if it is a mask add its picture"
            )
        if mask is None:
            raise UserError(f"{picture} has no mask: save it beside the picture as {picture.stem}.png")
        pairs.append((picture, mask))
    for mask in masks.values():
        raise UserError(f"{mask} is the mask of a picture that is not there: add the picture or remove the mask")
    return pairs


def _targets(folder: Path) -> list[Path]:
    """Return the targets' pictures, which have no masks beside them, sorted by name."""
    pictures: dict[str, Path] = {}
    for path in _picture_files(folder, "put the pictures to segment there"):
        other = pictures.setdefault(_name(path), path)
        if other != path:
            raise UserError(f"{other} and {path.name} share a name, so their masks would too: rename one of them")
    return list(pictures.values())


def _truth(folder: Path, targets: list[Path]) -> dict[Path, Path]:
    """Return the masks of those targets that have one; raises `UserError` where no file in the folder fits a target."""
    if not folder.is_dir():
        return {}
    masks = {_name(path): path for path in folder.iterdir() if _is_png(path) and path.name[0] != "."}
    found = {target: masks[_name(target)] for target in targets if _name(target) in masks}
    if masks and not found:
        raise UserError(
            f"{folder} has no mask named like a target: name the mask of {targets[0].name} {targets[0].stem}.png"
        )
    return found


def _picture_files(folder: Path, advice: str) -> list[Path]:
    """Return the pictures in a folder, of which there must be one, sorted by name."""
    if not folder.is_dir():
        raise UserError(f"{folder} is missing: make that folder and {advice}")
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.name[0] != ".")
    if not files:
        raise UserError(f"{folder} has no pictures: {advice} ({', '.join(PICTURE_SUFFIXES)})")
    return files


def _name(path: Path) -> str:
    """Return the name without suffix, in one spelling, because archives made on a Mac decompose accented letters."""
    return unicodedata.normalize("NFC", path.stem)


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"
