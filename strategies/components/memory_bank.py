"""Reference frames and masks to a memory bank, all references and objects in one batch.

Follows what the HF session does for a mask prompt on a conditioning frame (`Sam2VideoModel._use_mask_as_output`,
`_encode_new_memory`, `_process_object_pointers`), with its multimask selection written per batch element
(DESIGN section 3, traps 2 and 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from strategies.components.mask_decoder import decode_candidates
from strategies.vocabulary import References

if TYPE_CHECKING:
    from strategies.models.sam2 import Sam2


@dataclass(frozen=True, kw_only=True)
class MemoryBank:
    """The memory of one group: M = R*h*w spatial tokens followed by the object pointers' tokens.

    memory: ``[O, M, 64]``; position: ``[1, M, 64]``, the same for every object; pointer_tokens: how many of the last
    tokens belong to pointers and take no rotary encoding.
    """

    memory: Tensor
    position: Tensor
    pointer_tokens: int

    def objects(self, chosen: slice) -> MemoryBank:
        return MemoryBank(memory=self.memory[chosen], position=self.position, pointer_tokens=self.pointer_tokens)


@dataclass(frozen=True, kw_only=True)
class _EncodedReferences:
    spatial: Tensor  # [R, O, h*w, 64]
    pointers: Tensor  # [R, O, C]


def build_memory_bank(model: Sam2, references: References, *, chunk: int = 16) -> MemoryBank:
    """The bank that a target at frame index R of a session of R+1 frames sees (DESIGN section 1).

    chunk: how many (reference, object) pairs go through the memory encoder at once.
    """
    model.check_masks(references)
    encoded = _encode_references(model, references, chunk=chunk)
    slots = _memory_slots(model, len(references))
    spatial = torch.cat([encoded.spatial[frame] for frame, _ in slots], dim=1)
    network = model.network
    temporal = network.memory_temporal_positional_encoding[:, 0, 0]  # [num_maskmem, 64]
    spatial_position = model.memory_position  # [h*w, 64]
    position = torch.cat([spatial_position + temporal[offset - 1] for _, offset in slots])
    if model.pointers_in_memory:
        tokens, token_position = _pointer_tokens(model, encoded.pointers)
        spatial = torch.cat([spatial.to(tokens.dtype), tokens], dim=1)
        position = torch.cat([position, token_position.to(position.dtype)])
        pointer_tokens = tokens.shape[1]
    else:
        pointer_tokens = 0
    return MemoryBank(memory=spatial, position=position[None], pointer_tokens=pointer_tokens)


def _encode_references(model: Sam2, references: References, *, chunk: int) -> _EncodedReferences:
    frames, objects = references.masks.shape[:2]
    frame_of_pair = torch.arange(frames, device=model.device).repeat_interleave(objects)
    masks = references.masks.flatten(0, 1).unsqueeze(1)  # [R*O, 1, S, S]
    spatial, pointers = [], []
    for start in range(0, frames * objects, chunk):
        frame = frame_of_pair[start : start + chunk]
        mask = masks[start : start + chunk].to(model.device, torch.float32)
        seen = mask.flatten(1).any(dim=1, keepdim=True)
        spatial.append(_spatial_memory(model, references.features.embedding[frame], mask, seen))
        pointers.append(_object_pointers(model, references, frame, mask, seen))
    return _EncodedReferences(
        spatial=torch.cat(spatial).unflatten(0, (frames, objects)),
        pointers=torch.cat(pointers).unflatten(0, (frames, objects)),
    )


def _spatial_memory(model: Sam2, embedding: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
    """``[N, h*w, 64]``, rounded to bf16 as the model stores it whatever the dtype (DESIGN section 3, trap 7)."""
    network, config = model.network, model.network.config
    scaled = mask * config.sigmoid_scale_for_mem_enc + config.sigmoid_bias_for_mem_enc
    features, _ = network.memory_encoder(embedding, scaled)
    if network.occlusion_spatial_embedding_parameter is not None:
        absent = (~seen).float()[..., None, None]
        features = features + absent * network.occlusion_spatial_embedding_parameter[..., None, None]
    return features.to(torch.bfloat16).flatten(2).transpose(1, 2).float()


def _object_pointers(model: Sam2, references: References, frame: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
    """``[N, C]``: the decoder's best mask token under the mask prompt, or the learned "no object" pointer."""
    network = model.network
    sparse, dense = network.prompt_encoder(
        input_points=mask.new_zeros(mask.shape[0], 1, 1, 2),
        input_labels=-torch.ones(mask.shape[0], 1, 1, dtype=torch.int32, device=mask.device),
        input_boxes=None,
        input_masks=network.mask_downsample(mask),
    )
    candidates = decode_candidates(model, references.features.embedding[frame] + dense, sparse)
    token = candidates.best(candidates.mask_tokens)
    pointer = network.object_pointer_proj(token)
    present = (candidates.object_scores > 0)[:, None] & seen
    return torch.where(present, pointer, network.no_object_pointer.to(pointer.dtype))


def _memory_slots(model: Sam2, frames: int) -> list[tuple[int, int]]:
    """(reference frame, temporal offset) of each spatial memory, in the session's order.

    Offset 0 marks a conditioning memory. With more references than `max_cond_frame_num` the session keeps the
    closest ones and lets recent others in as ordinary memories (DESIGN section 3, trap 5).
    """
    network = model.network
    chosen, others = network._select_closest_cond_frames(
        frames, {frame: frame for frame in range(frames)}, max_cond_frame_num=network.config.max_cond_frame_num
    )
    slots = [(frame, 0) for frame in chosen]
    for offset in range(network.num_maskmem - 1, 0, -1):
        if frames - offset in others:
            slots.append((frames - offset, offset))
    return slots


def _pointer_tokens(model: Sam2, pointers: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens ``[O, R*C/64, 64]`` and positions ``[R*C/64, 64]`` of the references' object pointers."""
    network = model.network
    frames = pointers.shape[0]
    offsets = list(range(frames, 0, -1))
    most = min(frames + 1, network.config.max_object_pointers_in_encoder)
    tokens, position = network._process_object_pointers(
        offsets, list(pointers), most, pointers.shape[1], network.hidden_dim, pointers.device
    )
    return tokens.transpose(0, 1), position[:, 0]
