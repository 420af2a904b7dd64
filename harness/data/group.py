"""The groups of frames that every data source gives; frames are read only when asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from strategies.errors import UserError, did_you_mean

Item = TypeVar("Item")
MOST_NAMES_LISTED = 20


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture: ``image()`` reads uint8 ``[height, width, 3]``, ``labels()`` its ids, ``[height, width]`` alike.

    picture, mask: the files that they read, where there are any.
    """

    name: str
    image: Callable[[], np.ndarray]
    labels: Callable[[], np.ndarray] | None = None
    picture: Path | None = None
    mask: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """References with labels, and targets with or without; each of ``object_ids`` occurs in at least one reference.

    Other ids that a target's labels hold are background.
    reference_numbers, target_numbers: the frames' numbers in a video, ascending; empty where frames have no order.
    """

    name: str
    object_ids: tuple[int, ...]
    references: tuple[Frame, ...] = field(repr=False)
    targets: tuple[Frame, ...] = field(repr=False)
    reference_numbers: tuple[int, ...] = field(default=(), repr=False)
    target_numbers: tuple[int, ...] = field(default=(), repr=False)


def evenly(items: Sequence[Item], count: int) -> list[Item]:
    """Return the items in the middle of ``count`` equally long stretches; all where there are no more."""
    count = min(count, len(items))
    return [items[(2 * number + 1) * len(items) // (2 * count)] for number in range(count)]


def chosen(there: Sequence[str], asked: int | Sequence[str] | None, *, where: Path) -> list[str]:
    """Return the groups that are asked for, by number or by name; all where it is None.

    Raises UserError where a group of that name is not ``there``.
    """
    if asked is None:
        return list(there)
    if isinstance(asked, int):
        return evenly(there, asked)
    return named(there, [asked] if isinstance(asked, str) else [str(name) for name in asked], "data.groups", where)


def named(there: Sequence[str], names: Sequence[str], option: str, where: Path) -> list[str]:
    """Return the names that an option gives, each once. Raises UserError where one of them is not ``there``."""
    for name in names:
        if name not in there:
            more = ", ..." if len(there) > MOST_NAMES_LISTED else ""
            raise UserError(
                f"{option}={name} is not in {where}; {did_you_mean(name, there)}"
                f"valid: {', '.join(there[:MOST_NAMES_LISTED])}{more}"
            )
    return list(dict.fromkeys(names))


OnBroken = Callable[[str, UserError], None]
"""A function that is told of a group that can't be opened, by its name, and why."""


def opened(groups: Iterable[tuple[str, Callable[[], Group]]], on_broken: OnBroken | None) -> list[Group]:
    """Open groups, given with their names; those that can't be are told and left out, or raised without ``on_broken``.

    Where none can be opened, the reason of the first is raised.
    """
    found: list[Group] = []
    broken: list[tuple[str, UserError]] = []
    for name, make in groups:
        try:
            found.append(make())
        except UserError as error:
            if on_broken is None:
                raise
            broken.append((name, error))
    if broken and not found:
        raise broken[0][1]
    if on_broken is not None:
        for name, reason in broken:
            on_broken(name, reason)
    return found
