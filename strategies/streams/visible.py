"""The memory bank that each pair's next frame sees, made of what is remembered."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from strategies.components.memory_bank import MemoryBank
from strategies.models.tracker import Tracker
from strategies.streams.memories import Memories, Ring
from strategies.streams.schedule import UNSEEN, Numbers, Schedule

Scores = npt.NDArray[np.float32]


class Visible:
    """What a schedule lets frames see of a model's memories.

    decay: by how much the scores of a tracked memory are less for each frame of its age.
    """

    def __init__(self, model: Tracker, schedule: Schedule, *, decay: float = 0.0) -> None:
        self._model = model
        self._schedule = schedule
        self._decay = decay
        with model.computing():
            offsets = range(model.dimensions.recent_memories + 1)
            self._positions = torch.stack([model.memory_position(offset) for offset in offsets])

    def bank(self, memories: Memories, rows: Numbers, now: Numbers) -> MemoryBank:
        """Return the bank of P rows, as the frames ``now`` see them.

        Places that no row has anything in are left out; where only some have, the others' tokens are masked.
        """
        dimensions = self._model.dimensions
        offsets = self._schedule.offsets(now, memories.spatial.frames[rows])
        ages = self._schedule.pointer_ages(now, memories.pointers.frames[rows])
        places, pointer_places = ((seen != UNSEEN).any(axis=0).nonzero()[0] for seen in (offsets, ages))
        spatial, position = self._spatial(memories.spatial.read(rows, places), offsets[:, places])
        tokens, token_position = self._model.timed_pointers(
            memories.pointers.read(rows, pointer_places),
            self._on_device(_common(ages[:, pointer_places])),
            span=self._schedule.pointers,
        )
        count = max(len(position), len(token_position))
        positions = [part.expand(count, -1, -1).to(position.dtype) for part in (position, token_position)]
        scores = np.concatenate(
            [
                self._scores(memories.spatial, rows, now, offsets)[:, places].repeat(dimensions.memory_tokens, axis=1),
                self._scores(memories.pointers, rows, now, ages)[:, pointer_places].repeat(
                    dimensions.pointer_tokens, axis=1
                ),
            ],
            axis=1,
        )
        return MemoryBank(
            memory=torch.cat([spatial.to(tokens.dtype), tokens], dim=1),
            position=torch.cat(positions, dim=1),
            pointer_tokens=tokens.shape[1],
            bias=self._on_device(scores)[:, None, None] if scores.any() else None,
        )

    def _spatial(self, memories: Tensor, offsets: Numbers) -> tuple[Tensor, Tensor]:
        """Return tokens ``[P, K * memory tokens, W]`` and their positions; beyond those known, that of the oldest."""
        known = np.minimum(_common(offsets), len(self._positions) - 1)
        return memories.flatten(1, 2), self._positions[self._on_device(known)].flatten(1, 2)

    def _scores(self, ring: Ring, rows: Numbers, now: Numbers, seen: Numbers) -> Scores:
        """Return what is added to the scores of each place, -inf where nothing is seen."""
        ages = now[:, None] - ring.frames[rows]
        ages[:, ring.tracked :] = 0
        return np.where(seen == UNSEEN, -np.inf, -self._decay * ages).astype(np.float32)

    def _on_device(self, numbers: Numbers | Scores) -> Tensor:
        return torch.from_numpy(numbers).to(self._model.device)


def _common(numbers: Numbers) -> Numbers:
    """Return one row where all are the same, and else all."""
    return numbers[:1] if (numbers == numbers[:1]).all() else numbers
