"""What a job has to do: groups with their targets in fixed batches, and the files that masks go to.

Batches are slices of a group's targets, whatever is already there, so that a job that is interrupted makes the masks
that it would have made.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import Self

from harness.data.group import Frame, Group
from harness.data.images import read_palette
from harness.options.config import HarnessConfig
from harness.options.data import DavisConfig, FolderConfig
from strategies.errors import UserError

WRITTEN = ("labels.csv", "labels.parquet", "broken.csv", "annotations.json", "review.html", "job.json", "labels.sqlite")
"""Files of a job beside its groups' folders, after which no group may be named."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A group with what is to be predicted of it. object_ids: those of its objects that are asked for."""

    group: Group
    object_ids: tuple[int, ...]
    folder: Path

    def mask_of(self, target: Frame) -> Path:
        return self.folder / f"{target.name}.png"

    def done(self, entered: Collection[str]) -> set[str]:
        """Return those of the entered targets whose masks are on disk."""
        there = {path.name for path in self.folder.iterdir()} if self.folder.is_dir() else set()
        return {name for name in entered if f"{name}.png" in there}

    def batches(self, size: int) -> Iterator[tuple[Frame, ...]]:
        """Yield the targets in their batches, of which the last may be smaller."""
        for start in range(0, len(self.group.targets), size):
            yield self.group.targets[start : start + size]

    def palette(self) -> bytes:
        """Return the references' colours, three bytes for each index up to the highest id; distinct ones where none is.

        A reference's palette may end at the last index of its own mask. A PNG with too short a palette has too few bits
        for the other ids, so indices beyond it have the colours of later references.
        """
        needed = 3 * (max(self.object_ids) + 1)
        colours = b""
        for mask in (frame.mask for frame in self.group.references):
            if mask is not None and len(colours) < needed:
                colours += (read_palette(mask) or b"")[len(colours) :]
        return colours if len(colours) >= needed else colours + distinct_colours()[len(colours) :]


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Batches of a group, in their order, from which masks are missing.

    work: the group, whose own targets are left out, so that a chunk that is sent is not larger than its batches' names.
    wanted: the names of the targets whose masks are missing. remembered: whether masks depend on the targets before
    them.
    """

    work: Work
    batches: tuple[tuple[Frame, ...], ...]
    wanted: frozenset[str]
    remembered: bool

    @classmethod
    def of(cls, work: Work, *, batch: int, remembered: bool) -> Self:
        """Return all that there is of a group."""
        return cls(
            work=replace(work, group=replace(work.group, targets=())),
            batches=tuple(work.batches(batch)),
            wanted=frozenset(target.name for target in work.group.targets),
            remembered=remembered,
        )

    def without(self, done: Collection[str]) -> Chunk | None:
        """Return what is left when the targets of these names are done; None where that is nothing."""
        wanted = self.wanted.difference(done)
        needed = [not wanted.isdisjoint(target.name for target in batch) for batch in self.batches]
        if not any(needed):
            return None
        if self.remembered:
            batches = self.batches[: len(needed) - needed[::-1].index(True)]
        else:
            batches = tuple(compress(self.batches, needed))
        return replace(self, batches=batches, wanted=wanted)

    def cut(self, size: int) -> Iterator[Chunk]:
        """Yield pieces of at most so many batches; all in one where masks depend on the targets before them."""
        step = len(self.batches) if self.remembered else size
        for start in range(0, len(self.batches), step):
            batches = self.batches[start : start + step]
            names = {target.name for batch in batches for target in batch}
            yield replace(self, batches=batches, wanted=self.wanted & names)


def targets_of(plan: Sequence[Work]) -> int:
    """Return how many targets the groups have together."""
    return sum(len(work.group.targets) for work in plan)


def root_of(config: HarnessConfig) -> Path:
    """Return the folder of the pictures. Raises UserError where the data is no folder's."""
    if not isinstance(config.data, FolderConfig | DavisConfig):
        raise UserError(
            f"data={config.data.name} has no folder of pictures: give data=folder data.root=FOLDER, or data=davis"
        )
    return Path(config.data.root)


def out_of(config: HarnessConfig) -> Path:
    """Return the folder that masks go to. Raises UserError where that is in the folder of the pictures."""
    root = root_of(config).resolve()
    if config.label.out is None and not root.name:
        raise UserError(f"out= is missing: data.root={root} has no name to make one of, so give a folder")
    out = root.with_name(f"{root.name}-masks") if config.label.out is None else Path(config.label.out)
    if out.resolve().is_relative_to(root):
        raise UserError(f"out={out} is in data.root={root}, where pictures are read from: give another folder")
    return out


def preview_of(out: Path) -> Path:
    """Return the folder of a preview, beside that of the masks. Raises UserError where that has no name."""
    named = out if out.name not in ("", "..") else out.resolve()
    if not named.name:
        raise UserError(f"out={out} has no name to make that of a preview of: give another folder")
    return named.with_name(f"{named.name}-preview")


def work_of(groups: Sequence[Group], objects: int | None, out: Path) -> list[Work]:
    """Return the groups' work. Raises UserError where masks of two targets would be one file, or a group none."""
    seen: set[str] = set()
    for group in groups:
        if group.name in seen or group.name in ("", "..", *WRITTEN):
            again = "is the name of two groups" if group.name in seen else "can't be the name of a folder of masks"
            raise UserError(f"{group.name!r} {again}: rename the group's folder")
        seen.add(group.name)
        _check_names(group)
        for name in (group.name, *(target.name for target in group.targets)):
            try:
                name.encode()
            except UnicodeEncodeError:
                raise UserError(f"the name {name!r} in group {group.name!r} is no UTF-8: rename the file") from None
    return [Work(group=group, object_ids=group.object_ids[:objects], folder=out / group.name) for group in groups]


def _check_names(group: Group) -> None:
    first: dict[str, Frame] = {}
    for target in group.targets:
        other = first.setdefault(target.name, target)
        if other is not target:
            raise UserError(
                f"{other.picture} and {target.picture} share a name, so their masks would too: rename one of them"
            )


def distinct_colours() -> bytes:
    """Return PASCAL VOC's colours, which DAVIS has too: an id's bits, in turn, are bits of red, green and blue."""
    colours = []
    for index in range(256):
        for channel in range(3):
            bits = (index >> (3 * place + channel) & 1 for place in range(8))
            colours.append(sum(bit << 7 - place for place, bit in enumerate(bits)))
    return bytes(colours)
