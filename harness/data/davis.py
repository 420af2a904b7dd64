"""Clips in the DAVIS layout as groups: some annotated frames are references, the others are targets.

``root/JPEGImages/<resolution>/<clip>/NNNNN.jpg`` with ``root/Annotations/<resolution>/<clip>/NNNNN.png``; the level of
the resolution may be missing. A mask's values are object ids, 0 is background and 255 void, except in clips of which
no reference mask has a value in 1..254: there 255 is object 1 (DAVIS 2016).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness.data.group import Frame, Group, OnBroken, chosen, evenly, named, opened
from harness.data.images import check_count, read_image, read_labels_of, reference_objects
from harness.data.videos import numbers_of
from harness.options.data import PICKINGS
from strategies.errors import UserError

PREFERRED_RESOLUTION = "480p"


def davis_groups(
    *,
    root: Path,
    clips: Sequence[str] | None,
    references: int,
    targets: int | None,
    picking: str,
    seed: int,
    groups: int | Sequence[str] | None = None,
    in_order: bool = False,
    on_broken: OnBroken | None = None,
) -> list[Group]:
    """Return one group for each of ``clips``, or for each clip in ``root``, sorted by name, where ``clips`` is None.

    picking: which annotated frames are references: the "first" ones, "even"ly spaced over the clip, or "random" by
        ``seed`` (a clip's pick does not depend on the other clips, and a larger pick holds the smaller one).
    groups: names, as ``clips``, or how many of the clips at most, evenly spread.
    targets: how many of the other frames are targets at most, evenly spaced over the clip because neighbouring frames
        are similar; all of them where it is None.
    in_order: whether clips are streams: they begin with their first reference, targets are the frames that follow
        without a gap, and the frames' numbers are those in their names, if all have one, or else their places.

    Only the masks of the references are read. Raises `UserError` where the files do not hold what is asked for; with
    ``on_broken``, where no clip does.
    """
    if picking not in PICKINGS:
        raise UserError(f"data.picking={picking} is not known: choose one of {', '.join(PICKINGS)}")
    pictures, annotations = _folders(root)
    opening = partial(_group, references=references, targets=targets, picking=picking, seed=seed, in_order=in_order)
    names = chosen(_clip_names(pictures, clips), groups, where=pictures)
    return opened(((clip, partial(opening, pictures / clip, annotations / clip)) for clip in names), on_broken)


def _group(
    pictures: Path, masks: Path, *, references: int, targets: int | None, picking: str, seed: int, in_order: bool
) -> Group:
    clip = pictures.name
    frames = sorted(
        path for path in pictures.iterdir() if path.suffix.lower() in (".jpg", ".jpeg") and path.name[0] != "."
    )
    if not frames:
        raise UserError(f"{pictures} has no .jpg frames: put the clip's pictures there or leave it out of data.clips=")
    mask_of = {frame: mask for frame in frames if (mask := masks / f"{frame.stem}.png").is_file()}
    if not mask_of:
        raise UserError(f"{masks} has no mask of any frame: put a .png there, named like the frame that it labels")
    check_count("refs", references, available=len(mask_of), what=f"annotated frames in {masks}")

    chosen = _pick(list(mask_of), references, picking=picking, seed=f"{seed}/{clip}")
    if in_order:
        frames = frames[frames.index(chosen[0]) :]
    others = [frame for frame in frames if frame not in set(chosen)]
    if not others:
        raise UserError(f"refs={references} leaves no target in {pictures}: ask for fewer of its {len(frames)} frames")
    if targets is not None and targets < len(others):
        others = others[:targets] if in_order else evenly(others, targets)

    ids, binary = reference_objects([(frame, mask_of[frame]) for frame in chosen])
    object_ids = sorted(set().union(*ids))

    def as_frame(picture: Path) -> Frame:
        mask = mask_of.get(picture)
        return Frame(
            name=picture.stem,
            image=partial(read_image, picture),
            labels=partial(read_labels_of, picture, mask, binary=binary) if mask else None,
            picture=picture,
            mask=mask,
        )

    number_of = numbers_of(frames) if in_order else {}
    return Group(
        name=clip,
        object_ids=tuple(object_ids),
        references=tuple(as_frame(frame) for frame in chosen),
        targets=tuple(as_frame(frame) for frame in others),
        reference_numbers=tuple(number_of[frame] for frame in chosen if in_order),
        target_numbers=tuple(number_of[frame] for frame in others if in_order),
    )


def _pick(frames: list[Path], count: int, *, picking: str, seed: str) -> list[Path]:
    """Return ``count`` of the frames, in the order of the clip."""
    match picking:
        case "even":
            return evenly(frames, count)
        case "random":
            shuffled = frames.copy()
            random.Random(seed).shuffle(shuffled)
            return sorted(shuffled[:count])
        case _:
            return frames[:count]


def _folders(root: Path) -> tuple[Path, Path]:
    """Return the folders of the clips' pictures and of their masks."""
    if not root.is_dir():
        raise UserError(f"data.root={root} is not a folder: give the one that holds JPEGImages and Annotations")
    pictures, annotations = root / "JPEGImages", root / "Annotations"
    if not pictures.is_dir():
        raise UserError(
            f"data.root={root} has no folder JPEGImages: give the one that holds JPEGImages and Annotations"
        )
    resolutions = [folder.name for folder in _subfolders(pictures) if _subfolders(folder)]
    if not resolutions:  # JPEGImages holds the clips themselves.
        return pictures, annotations
    resolution = PREFERRED_RESOLUTION if PREFERRED_RESOLUTION in resolutions else resolutions[0]
    return pictures / resolution, annotations / resolution


def _clip_names(pictures: Path, asked: Sequence[str] | None) -> list[str]:
    there = [folder.name for folder in _subfolders(pictures)]
    if not there:
        raise UserError(f"{pictures} has no clips: put each clip's frames there, in a folder of its own")
    if asked is None:
        return there
    if not asked:
        raise UserError("data.clips= names no clip: name some, or leave the option out for all")
    return named(there, asked, "data.clips", pictures)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
