"""What every data source gives: groups of frames that are read only when asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One picture: ``image()`` reads uint8 ``[height, width, 3]``, ``labels()`` ids ``[height, width]`` of its size."""

    name: str
    image: Callable[[], np.ndarray]
    labels: Callable[[], np.ndarray] | None = None


@dataclass(frozen=True, kw_only=True)
class Group:
    """References with labels, targets with or without; ``object_ids`` occur in at least one reference."""

    name: str
    object_ids: tuple[int, ...]
    references: tuple[Frame, ...] = field(repr=False)
    targets: tuple[Frame, ...] = field(repr=False)
