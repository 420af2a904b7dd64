"""The memory bank of a group, made of its reference frames and masks.

It follows what the HF session does for a mask prompt on a conditioning frame (`Sam2VideoModel._use_mask_as_output`,
`_encode_new_memory`, `_process_object_pointers`), with its multimask selection written per batch element (DESIGN
section 3, traps 2 and 3). Spatial memory is encoded as the session does it, for all objects of one frame at once: in
another batch last bits differ, and where one decides to which of two bf16 neighbours a value is rounded (trap 7), masks
differ by more than noise. Pointers are not rounded, so they are made for as many pairs at once as there is room for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from strategies.components.mask_decoder import decode_candidates
from strategies.models.tracker import Tracker
from strategies.vocabulary import References

OBJECTS_AT_ONCE = 32
"""Spatial memory of no more objects is encoded at once: at 1024 px that takes some 30 MB of activations for each."""


@dataclass(frozen=True, kw_only=True)
class MemoryBank:
    """The memory of one group: M tokens of an object, spatial memories followed by object pointers.

    memory: ``[O, M, W]``; position: ``[1, M, W]``, the same for every object, or ``[O, M, W]``; pointer_tokens: how
    many of the last tokens belong to pointers and take no rotary encoding. bias: ``[O, 1, 1, M]``, what is added to
    every score of a token, -inf where an object has no such token; None for nothing.
    """

    memory: Tensor
    position: Tensor
    pointer_tokens: int
    bias: Tensor | None = None

    def objects(self, chosen: slice) -> MemoryBank:
        return replace(
            self,
            memory=self.memory[chosen],
            position=self.position if len(self.position) == 1 else self.position[chosen],
            bias=None if self.bias is None else self.bias[chosen],
        )


@dataclass(frozen=True, kw_only=True)
class _EncodedReferences:
    spatial: Tensor  # [R, O, memory tokens, W]
    pointers: Tensor  # [R, O, C]


def build_memory_bank(model: Tracker, references: References, *, chunk: int = 16) -> MemoryBank:
    """Build the bank that a target at frame index R of a session of R+1 frames sees (DESIGN section 1).

    chunk: for how many (reference, object) pairs pointers are made at once.
    """
    model.check_masks(references)
    encoded = _encode_references(model, references, chunk=chunk)
    slots = model.memory_slots(len(references))
    spatial = torch.cat([encoded.spatial[frame] for frame, _ in slots], dim=1)
    position = torch.cat([model.memory_position(offset) for _, offset in slots])
    tokens, token_position = model.pointer_memory(encoded.pointers)
    return MemoryBank(
        memory=torch.cat([spatial.to(tokens.dtype), tokens], dim=1),
        position=torch.cat([position, token_position.to(position.dtype)])[None],
        pointer_tokens=tokens.shape[1],
    )


def _encode_references(model: Tracker, references: References, *, chunk: int) -> _EncodedReferences:
    frames, objects = references.masks.shape[:2]
    embedding = references.features.embedding
    spatial = []
    for frame, masks in enumerate(references.masks.unsqueeze(2)):  # [O, 1, S, S]
        for part in masks.split(OBJECTS_AT_ONCE):
            mask, visible = _prompt(model, part)
            spatial.append(model.spatial_memory(embedding[frame].expand(len(part), -1, -1, -1), mask, visible))
    frame_of_pair = torch.arange(frames, device=model.device).repeat_interleave(objects)
    pointers = [
        _object_pointers(model, embedding[of_part], *_prompt(model, part))
        for of_part, part in zip(
            frame_of_pair.split(chunk), references.masks.flatten(0, 1).unsqueeze(1).split(chunk), strict=True
        )
    ]
    return _EncodedReferences(
        spatial=torch.cat(spatial).unflatten(0, (frames, objects)),
        pointers=torch.cat(pointers).unflatten(0, (frames, objects)),
    )


def encode_labelled(model: Tracker, embedding: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return the spatial memories ``[N, memory tokens, W]`` and object pointers ``[N, C]`` of N labelled pairs.

    embedding: of each pair's frame, ``[N, C, h, w]``; masks: ``[N, 1, S, S]``.
    """
    mask, visible = _prompt(model, masks)
    return model.spatial_memory(embedding, mask, visible), _object_pointers(model, embedding, mask, visible)


def _prompt(model: Tracker, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Return masks ``[N, 1, S, S]`` as the network takes them, and which of them show something, ``[N, 1]``."""
    mask = masks.to(model.device, torch.float32)
    return mask, mask.flatten(1).any(dim=1, keepdim=True)


def _object_pointers(model: Tracker, embedding: Tensor, mask: Tensor, visible: Tensor) -> Tensor:
    """Make pointers ``[N, C]`` of the decoder's best mask token under the mask prompt, or that of no object."""
    sparse, dense = model.mask_prompt(mask)
    candidates = decode_candidates(model, embedding + dense, sparse)
    token = candidates.best(candidates.mask_tokens)
    return model.object_pointers(token, (candidates.object_scores > 0)[:, None] & visible)
