"""Faults of the memory bank: what enters it, and which references it is made of."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from strategies.components.memory_bank import MemoryBank, build_memory_bank
from strategies.components.static_shapes import Chunk
from strategies.direct import Direct
from strategies.extended_session import ExtendedSession
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, References, VisionFeatures


class _OtherBank(Direct):
    """`direct` over a memory bank that is wrong."""

    def _chunk_on(self, memory: MemoryBank) -> Chunk:
        return super()._chunk_on(self._other(memory))

    def _other(self, memory: MemoryBank) -> MemoryBank:
        raise NotImplementedError


class PointersDropped(_OtherBank):
    """Object pointers are left out of memory."""

    def _other(self, memory: MemoryBank) -> MemoryBank:
        kept = memory.memory.shape[1] - memory.pointer_tokens
        return MemoryBank(memory=memory.memory[:, :kept], position=memory.position[:, :kept], pointer_tokens=0)


class PointerPositionsAlike(_OtherBank):
    """Every pointer has the position of the newest."""

    def _prepare(self, references: References) -> None:
        self._frames = len(references)
        super()._prepare(references)

    def _other(self, memory: MemoryBank) -> MemoryBank:
        position = memory.position.clone()
        first, tokens = position.shape[1] - memory.pointer_tokens, memory.pointer_tokens // self._frames
        position[:, first:] = position[:, -tokens:].repeat(1, self._frames, 1)
        return replace(memory, position=position)


class PointerPositionsMissing(_OtherBank):
    """Pointers have no position."""

    def _other(self, memory: MemoryBank) -> MemoryBank:
        position = memory.position.clone()
        position[:, position.shape[1] - memory.pointer_tokens :] = 0
        return replace(memory, position=position)


class RawSlots(ExtendedSession):
    """Slots of a long session see the references where they are in time, and call themselves exact."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model, positions="raw")
        self.exact = True


class OneObjectsPointers(_OtherBank):
    """The first object's pointers have the wrong sign; the others' are right."""

    def _other(self, memory: MemoryBank) -> MemoryBank:
        tokens = memory.memory.clone()
        first = tokens.shape[1] - memory.pointer_tokens
        tokens[0, first:].neg_()
        return replace(memory, memory=tokens)


class BanksSwapped(_OtherBank):
    """Two objects have each other's memory."""

    def _other(self, memory: MemoryBank) -> MemoryBank:
        tokens = memory.memory.clone()
        tokens[:2] = memory.memory[:2].flip(0)
        return replace(memory, memory=tokens)


class _KeepFloats(TorchFunctionMode):
    """A mode in which a conversion to bf16 changes nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.to and torch.bfloat16 in args:
            return args[0]
        return func(*args, **(kwargs or {}))


class MemoryUnrounded(Direct):
    """Memory is not rounded to bf16 as the model stores it."""

    def _prepare(self, references: References) -> None:
        with _KeepFloats():
            super()._prepare(references)


class OneObjectUnrounded(_OtherBank):
    """The first object's memory is not rounded; the others' is."""

    def _prepare(self, references: References) -> None:
        with _KeepFloats():
            self._unrounded = build_memory_bank(self.model, references, chunk=self._pairs_at_once)
        super()._prepare(references)

    def _other(self, memory: MemoryBank) -> MemoryBank:
        return replace(memory, memory=torch.cat([self._unrounded.memory[:1], memory.memory[1:]]))


class _OtherModel(Direct):
    """`direct` whose memory bank comes from a model with a wrong part; the model itself stays as it is."""

    def __init__(self, model: Tracker) -> None:
        super().__init__(model)
        self._right, self._wrong = model, self._spoiled(copy.copy(model))

    def _prepare(self, references: References) -> None:
        self.model = self._wrong
        super()._prepare(references)
        self.model = self._right

    def _spoiled(self, model: Tracker) -> Tracker:
        raise NotImplementedError


class NoObjectEmbeddingDropped(_OtherModel):
    """Memory does not say that the object is absent from a reference."""

    def _spoiled(self, model: Tracker) -> Tracker:
        right = model.spatial_memory

        def spatial_memory(embedding: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
            return right(embedding, mask, torch.ones_like(seen))

        return _with(model, spatial_memory=spatial_memory)


class MemoryTimeOffByOne(_OtherModel):
    """Conditioning memories have the temporal position of the frame before."""

    def _spoiled(self, model: Tracker) -> Tracker:
        right = model.memory_position

        def memory_position(offset: int) -> Tensor:
            return right(offset + 1)

        return _with(model, memory_position=memory_position)


class WeightsRounded(Direct):
    """All weights are rounded to bf16."""

    def __init__(self, model: Tracker) -> None:
        rounded = copy.deepcopy(model)
        parts = rounded.stage_modules
        for module in (parts.memory_encoder, parts.memory_attention, parts.mask_decoder):
            for weight in module.parameters():
                weight.data = weight.data.to(torch.bfloat16).float()
        super().__init__(rounded)


class EveryReferenceSeen(_OtherModel):
    """The memories of all references are seen, and not of the closest only (DESIGN section 3, trap 5)."""

    def _spoiled(self, model: Tracker) -> Tracker:
        def memory_slots(references: int) -> list[tuple[int, int]]:
            return [(frame, 0) for frame in range(references)]

        return _with(model, memory_slots=memory_slots)


class OthersPointersDropped(_OtherModel):
    """Pointers of references whose memories are not seen are left out."""

    def _spoiled(self, model: Tracker) -> Tracker:
        right = model.pointer_memory

        def pointer_memory(pointers: Tensor) -> tuple[Tensor, Tensor]:
            seen = {frame for frame, _ in model.memory_slots(len(pointers))}
            tokens, position = right(pointers)
            of_each = tokens.shape[1] // len(pointers)
            kept = [frame * of_each + token for frame in sorted(seen) for token in range(of_each)]
            return tokens[:, kept], position[kept]

        return _with(model, pointer_memory=pointer_memory)


class MemoryRounded(_OtherBank):
    """Memory is rounded to bf16, as other families do."""

    def _other(self, memory: MemoryBank) -> MemoryBank:
        kept = memory.memory.shape[1] - memory.pointer_tokens
        tokens = memory.memory.clone()
        tokens[:, :kept] = tokens[:, :kept].to(torch.bfloat16).float()
        return replace(memory, memory=tokens)


class LatentsReversed(_OtherModel):
    """The latents of a memory come in reverse order, beside the positions of the right one."""

    def _spoiled(self, model: Tracker) -> Tracker:
        right = model.spatial_memory

        def spatial_memory(embedding: Tensor, mask: Tensor, visible: Tensor) -> Tensor:
            return right(embedding, mask, visible).flip(1)

        return _with(model, spatial_memory=spatial_memory)


class OtherLatentsTurned(_OtherModel):
    """The rotary encoding turns the latents that it should leave alone."""

    def _spoiled(self, model: Tracker) -> Tracker:
        right = model.memory_rotary

        def memory_rotary(memories: int) -> tuple[Tensor, Tensor]:
            cos, sin = right(memories)
            return cos.flip(0), sin.flip(0)

        return _with(model, memory_rotary=memory_rotary)


class _NearestPixels(TorchFunctionMode):
    """A mode in which tensors are resized by their nearest values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if func is torch.nn.functional.interpolate:
            given = {"size": given["size"], "mode": "nearest"}
        return func(*args, **given)


class MasksByNearestPixels(Direct):
    """Masks are resized by their nearest pixels on their way into memory."""

    def _prepare(self, references: References) -> None:
        with _NearestPixels():
            super()._prepare(references)


class FirstReferenceOnly(Direct):
    """Targets are conditioned on the first reference alone (DESIGN section 3, trap 1)."""

    def _prepare(self, references: References) -> None:
        super()._prepare(
            replace(
                references,
                features=references.features[:1],
                masks=references.masks[:1],
                pixels=None if references.pixels is None else references.pixels[:1],
            )
        )


class MemorySplit(Direct):
    """The memory's frames are divided among the targets of a batch (DESIGN section 3, trap 3)."""

    def _prepare(self, references: References) -> None:
        self._alone = [
            replace(references, features=references.features[at : at + 1], masks=references.masks[at : at + 1])
            for at in range(len(references))
        ]
        super()._prepare(references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        if len(targets) == 1:
            return super()._predict(targets)
        parts = []
        for at in range(len(targets)):
            super()._prepare(self._alone[at % len(self._alone)])
            parts.append(super()._predict(targets[at : at + 1]))
        return Predictions.concatenate(parts)


def _with(model: Tracker, **parts: Callable[..., Any]) -> Tracker:
    """Return the model with methods replaced."""
    for name, part in parts.items():
        setattr(model, name, part)
    return model
