"""The memory encoder of SAM2's family for many masks at once, computed of the network's own parts.

It does the arithmetic of the network's module, but for two things: positions, which are the same for every memory, are
not made; and over a few channels at many places, a norm is taken of all places at once. torch's norm takes one place
after another, which for the first layer's 4 channels is a quarter of the encoder's time on a CPU.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

FEW_CHANNELS = 8
"""Up to so many, a norm over channels that lie apart in memory is faster than one that brings them together first."""


def encode_memories(encoder: Any, embedding: Tensor, masks: Tensor) -> Tensor:
    """Return memories ``[N, W, h, w]`` of image embeddings ``[N, C, h, w]`` and scaled masks ``[N, 1, S, S]``."""
    x = masks
    for layer in encoder.mask_downsampler.layers:
        x = layer.activation(_normed(layer.layer_norm, layer.conv(x)))
    x = encoder.feature_projection(embedding) + encoder.mask_downsampler.final_conv(x)
    memories: Tensor = encoder.projection(encoder.memory_fuser(x))
    return memories


def _normed(norm: Any, x: Tensor) -> Tensor:
    """Apply a norm over the channels of ``[N, C, H, W]``, in fp32 as autocast does."""
    if x.shape[1] > FEW_CHANNELS:
        out: Tensor = norm(x)
        return out
    x = x.float()
    x = x - x.mean(dim=1, keepdim=True)
    spread = x.square().mean(dim=1, keepdim=True).add_(norm.eps).rsqrt_()
    return torch.addcmul(norm.bias[:, None, None], x.mul_(spread), norm.weight[:, None, None])
