"""The groups of frames that every data source gives; frames are read only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture: ``image()`` reads uint8 ``[height, width, 3]``, ``labels()`` its ids, ``[height, width]`` alike."""

    name: str
    image: Callable[[], np.ndarray]
    labels: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """References with labels, and targets with or without; each of ``object_ids`` occurs in at least one reference.

    Other ids that a target's labels hold are background.
    """

    name: str
    object_ids: tuple[int, ...]
    references: tuple[Frame, ...] = field(repr=False)
    targets: tuple[Frame, ...] = field(repr=False)
