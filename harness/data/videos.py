"""What a group has to be so that it can be streamed: a video, whose frames come one after another."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from harness.data.group import Frame, Group
from harness.data.images import picture_size
from strategies.errors import UserError

LARGEST_NUMBER = 2**62
"""The largest number of a frame with which strategies for streams can count in 64 bits."""


def in_order(group: Group) -> list[tuple[int, Frame]]:
    """Return a video's frames, references included, by their numbers."""
    numbers = (*group.reference_numbers, *group.target_numbers)
    frames = (*group.references, *group.targets)
    return sorted(zip(numbers, frames, strict=True), key=lambda one: one[0])


def order_of(picture: Path) -> list[str | int]:
    """Return what puts files into the order of a video: their names, in which numbers count as such, as 9 before 10."""
    parts = re.split(r"(\d+)", unicodedata.normalize("NFC", picture.stem))
    return [int(part) if place % 2 else part for place, part in enumerate(parts)]


def numbers_of(pictures: Sequence[Path]) -> dict[Path, int]:
    """Return the numbers that a video's files have in their names, if all have one, or else their places."""
    if all(picture.stem.isdecimal() for picture in pictures):
        return {picture: int(picture.stem) for picture in pictures}
    return {picture: place for place, picture in enumerate(pictures)}


def checked_video(group: Group) -> Group:
    """Return the group. Raises UserError where it is no video that can be streamed from its first frame to its last."""
    if not group.target_numbers:
        raise UserError(
            f"scenario=stream needs videos, and the frames of group {group.name} have no order: "
            "take data=drifting, data=folder, or clips by data=davis"
        )
    frames = in_order(group)
    first, last = frames[0][0], group.target_numbers[-1]
    if last > LARGEST_NUMBER:
        raise UserError(f"frame {last} of video {group.name} has too large a number: number the frames anew")
    for number in group.reference_numbers:
        if number > last:
            raise UserError(
                f"the reference {number} of video {group.name} comes after its last frame {last}, to which it tells "
                "nothing: raise targets=, or choose earlier references"
            )
    for (before, one), (number, other) in pairwise(frames):
        if number == before:
            raise UserError(
                f"video {group.name} has two frames of number {number}, {one.name} and {other.name}: leave one out, or "
                "number the frames anew"
            )
    for place, (number, _) in enumerate(frames):
        if number != first + place:
            raise UserError(
                f"frame {first + place} of video {group.name} is missing, after which {number} comes: put it there, "
                "or number the frames anew"
            )
    _check_sizes(group.name, [frame for _, frame in frames])
    return group


def _check_sizes(name: str, frames: Sequence[Frame]) -> None:
    """Refuse a video whose files are of several sizes; only their headers are read. Drawn frames have one size."""
    sizes = [(picture, picture_size(picture)) for frame in frames if (picture := frame.picture) is not None]
    for picture, size in sizes:
        if size != sizes[0][1]:
            raise UserError(
                f"{picture} is {size[1]}x{size[0]}, and video {name} began with {sizes[0][1][1]}x{sizes[0][1][0]}: "
                "give all frames of a video one size"
            )
