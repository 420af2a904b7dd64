"""The sizes of a model that its FLOPs follow from, by the same names for every family."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class MemoryAttentionDimensions:
    """The sizes of memory attention.

    heads: of each attention. hidden: the width between layers. width: of projected queries and keys, all heads
    together.
    """

    layers: int
    heads: int
    hidden: int
    width: int
    feed_forward: int

    @property
    def head_width(self) -> int:
        return self.width // self.heads


@dataclass(frozen=True, kw_only=True)
class MaskDecoderDimensions:
    """The sizes of the mask decoder.

    width: of attention between tokens and image. mlp: the width of each layer's network. candidates: the masks to pick
    from.
    """

    layers: int
    heads: int
    hidden: int
    width: int
    mlp: int
    candidates: int
    iou_head_hidden: int
    iou_head_depth: int


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The tokens, widths and counts of one model.

    hidden: channels of the image embedding, and the width of an object pointer.
    image_tokens: of an image embedding (h*w); prompt_tokens: of the prompt encoder's image-wide positions, which are
    made from ``prompt_width`` frequencies of two coordinates.
    memory_width: of a token of memory; memory_tokens: of one spatial memory; pointer_tokens: of one object pointer, 0
    where pointers do not enter memory.
    conditioning_frames: the most that a target is conditioned on, None where there is no limit; recent_memories: the
    most spatial memories of other frames that it sees besides; recent_pointers: the most of their object pointers.
    pointers_depend_on_time: whether how long ago a pointer was made is encoded into it.
    """

    hidden: int
    image_tokens: int
    prompt_tokens: int
    prompt_width: int
    memory_width: int
    memory_tokens: int
    pointer_tokens: int
    conditioning_frames: int | None
    recent_memories: int
    recent_pointers: int
    pointers_depend_on_time: bool
    memory_attention: MemoryAttentionDimensions
    mask_decoder: MaskDecoderDimensions
