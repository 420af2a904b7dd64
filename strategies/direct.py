"""direct: the model's components called directly, batched over targets and objects.

How: the memory bank is built once per group; a batch of T targets and O objects goes through memory attention and the
mask decoder as T * O pairs, in chunks of bounded size. ``bank`` says how the bank (M tokens an object) reaches them:

- ``repeat``: copied for every pair, T * O * M tokens in memory, keys and values projected per pair;
- ``expand``: a view for every pair, still projected per pair; one call of the network for each object;
- ``shared``: keys and values are projected and rotated once per group (O * M tokens per layer), and all targets of an
  object form one long query axis, so nothing is copied, expanded or projected twice. Layer 0's self-attention, which
  knows no object, runs once per target.

Costs: time = about one forward pass per chunk; memory = the bank plus ``chunk_tokens`` tokens of activations (and, but
for ``shared``, that many pairs' copies of keys and values), whatever the batch, plus the masks themselves.
From: DESIGN sections 1 and 2. Exact up to float noise in every mode.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from strategies.base import Strategy
from strategies.components.flops import PredictionFlops, per_pair_flops, shared_bank_flops
from strategies.components.mask_decoder import decode_best
from strategies.components.memory_attention import condition_per_pair, condition_shared, project_bank
from strategies.components.memory_bank import MemoryBank, build_memory_bank
from strategies.errors import UserError
from strategies.models.sam2 import Sam2
from strategies.vocabulary import Predictions, References, VisionFeatures

BANKS = ("shared", "expand", "repeat")

Condition = Callable[[Tensor, slice], Tensor]
"""Conditions embeddings ``[T, C, h, w]`` on a slice of the objects: ``[O*T, C, h, w]``."""


class Direct(Strategy):
    """Batched components; see the module's docstring.

    chunk_tokens: image tokens that go at once through the memory encoder, which makes the bank, and through memory
    attention (16 pairs at 1024 px).
    """

    _condition: Condition | None = None

    def __init__(self, model: Sam2, *, bank: str = "shared", chunk_tokens: int = 65_536) -> None:
        super().__init__(model)
        if bank not in BANKS:
            raise UserError(f"bank={bank} is not known; choose one of {', '.join(BANKS)}")
        if chunk_tokens < 1:
            raise UserError(f"chunk_tokens={chunk_tokens} must be at least 1")
        self.bank = bank
        self._pairs_at_once = max(1, chunk_tokens // model.embedding_position.shape[1])

    def _prepare(self, references: References) -> None:
        bank = build_memory_bank(self.model, references, chunk=self._pairs_at_once)
        self._condition = self._shared(bank) if self.bank == "shared" else self._per_pair(bank)

    def _shared(self, bank: MemoryBank) -> Condition:
        projected = project_bank(self.model, bank)
        return lambda embedding, objects: condition_shared(self.model, embedding, projected.objects(objects))

    def _per_pair(self, bank: MemoryBank) -> Condition:
        copies = self.bank == "repeat"
        return lambda embedding, objects: condition_per_pair(
            self.model, embedding, bank.objects(objects), copies=copies
        )

    def _predict(self, targets: VisionFeatures) -> Predictions:
        objects = len(self.object_ids)
        objects_at_once = min(objects, self._pairs_at_once)
        targets_at_once = max(1, self._pairs_at_once // objects_at_once)
        rows = []
        for start in range(0, len(targets), targets_at_once):
            part = targets[start : start + targets_at_once]
            columns = [
                self._predict_chunk(part, slice(first, min(first + objects_at_once, objects)))
                for first in range(0, objects, objects_at_once)
            ]
            rows.append([torch.cat(piece, dim=1) for piece in zip(*columns, strict=True)])
        logits, scores, picks = (torch.cat(piece) for piece in zip(*rows, strict=True))
        return Predictions(logits=logits.float(), object_scores=scores.float(), picks=picks, object_ids=self.object_ids)

    def _predict_chunk(self, targets: VisionFeatures, objects: slice) -> tuple[Tensor, Tensor, Tensor]:
        assert self._condition is not None
        conditioned = self._condition(targets.embedding, objects)
        return decode_best(self.model, conditioned, targets, objects=objects.stop - objects.start)

    def _flops(self, references: int) -> PredictionFlops:
        if self.bank != "shared":
            return per_pair_flops(self.model.network.config, references)
        work = self._shared_flops(references)
        chunks_of_objects = -(-len(self.object_ids) // self._pairs_at_once)  # each begins at layer 0 again
        return replace(work, per_target=chunks_of_objects * work.per_target)

    def _shared_flops(self, references: int) -> PredictionFlops:
        """Of what `_shared` makes, where all objects go through it at once."""
        return shared_bank_flops(self.model.network.config, references)

    def _release(self) -> None:
        self._condition = None
