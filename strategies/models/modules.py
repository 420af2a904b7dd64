"""The modules of a network that strategies compute with themselves, by the names that SAM2's code gives their parts.

Batched strategies do not call memory attention and the mask decoder as the network does, but apply the weights of their
layers in another order. These protocols say which parts they read. An adapter hands out the network's own modules where
they have these parts, and wraps them where they do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor, nn

Layer = Callable[[Tensor], Tensor]


class Attention(Protocol):
    """Projections to queries, keys, values and output, and how scores are scaled."""

    q_proj: nn.Linear
    k_proj: nn.Linear
    v_proj: nn.Linear
    o_proj: nn.Linear
    num_attention_heads: int
    scaling: float


class MemoryAttentionLayer(Protocol):
    """Self-attention, cross-attention to memory and a feed-forward network, each behind its norm.

    The feed-forward network is missing here, because families name its parts differently: `Tracker.feed_forward`.
    """

    self_attn: Attention
    cross_attn_image: Attention
    layer_norm1: Layer
    layer_norm2: Layer


class MemoryAttention(Protocol):
    layers: Sequence[MemoryAttentionLayer]
    layer_norm: Layer


class TwoWayLayer(Protocol):
    """One block of the mask decoder's transformer, between a handful of tokens and an image."""

    self_attn: Attention
    cross_attn_token_to_image: Attention
    cross_attn_image_to_token: Attention
    mlp: Layer
    layer_norm1: Layer
    layer_norm2: Layer
    layer_norm3: Layer
    layer_norm4: Layer
    skip_first_layer_pe: bool


class TwoWayTransformer(Protocol):
    layers: Sequence[TwoWayLayer]
    final_attn_token_to_image: Attention
    layer_norm_final_attn: Layer

    def __call__(
        self,
        *,
        point_embeddings: Tensor,
        image_embeddings: Tensor,
        image_positional_embeddings: Tensor,
        attention_similarity: Tensor | None,
    ) -> tuple[Tensor, Tensor]: ...


class MaskDecoder(Protocol):
    """SAM's mask decoder: output tokens, their transformer, the heads that read them, and the image's upscaling."""

    obj_score_token: nn.Embedding
    iou_token: nn.Embedding
    mask_tokens: nn.Embedding
    num_mask_tokens: int
    transformer: TwoWayTransformer
    pred_obj_score_head: Layer
    iou_prediction_head: Layer
    output_hypernetworks_mlps: Sequence[Layer]
    upscale_conv1: Layer
    upscale_layer_norm: Layer
    upscale_conv2: Layer
    activation: Layer
