"""SAM2's memory attention over a shared bank, its attentions in fused kernels.

The order of steps is that of `components.memory_attention.condition_shared`. What is saved on top (DESIGN section 2):
``P V = (P M) Wv^T + bv`` because shares sum to 1, so the raw 64-wide memory serves as values of every layer and one
product ``Wo Wv`` takes what was attended to the output.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from strategies.components.memory_attention import project_keys
from strategies.components.memory_bank import MemoryBank
from strategies.components.quantised import KV, Tokens, stored
from strategies.kernels.attention import attend
from strategies.kernels.rotary import rotate
from strategies.models.modules import Attention, MemoryAttentionLayer
from strategies.models.precision import DTYPES
from strategies.models.tracker import Tracker

FASTEST_FIRST = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
"""Backends, the fastest first at heads of 256 on an H100 (DESIGN section 8); torch takes the first that it can."""


@dataclass(frozen=True, kw_only=True)
class _Output:
    """The product that ends an attention: weight ``[C, V]`` in the dtype of the kernels, bias fp32 ``[C]``."""

    weight: Tensor
    bias: Tensor


class FusedMemoryAttention:
    """Memory attention of one group: keys of every layer and the raw memory, cast and rotated once.

    fused_self_attention: self-attention in our kernel too, else in the fastest of torch's. kv: in how many bits keys
    and memory are kept and read; each is rounded to 8 from what it was projected or stored in.
    """

    def __init__(self, model: Tracker, bank: MemoryBank, *, fused_self_attention: bool, kv: KV) -> None:
        self._model = model
        self._attention = model.memory_attention
        dtype = DTYPES[model.dtype]
        self._keys = tuple(stored(key[:, 0], kv) for key in project_keys(model, bank))  # [O, M, d]
        self._memory = stored(bank.memory.to(dtype) if kv == "own" else bank.memory, kv)
        cos, sin = model.rotary
        self._tables = cos[:, ::2].contiguous(), sin[:, ::2].contiguous()
        full = model.in_dtype("fp32").memory_attention.layers
        self._outputs = tuple(_absorbed(layer.cross_attn_image, dtype) for layer in full)
        self._self_attention = self._fused_self_attention if fused_self_attention else self._library_self_attention

    @property
    def bank_bytes(self) -> int:
        """The bytes of keys and memory."""
        return sum(tokens.nbytes for tokens in (*self._keys, self._memory))

    def condition(self, embedding: Tensor, objects: slice) -> Tensor:
        """Condition embeddings ``[T, C, h, w]`` on a slice of the objects: ``[O*T, C, h, w]`` (object-major)."""
        x = self._model.memory_attention_input(embedding).contiguous()  # [T, L, C]: no object yet
        memory = self._memory[objects]
        for layer, keys, output in zip(self._attention.layers, self._keys, self._outputs, strict=True):
            x = self._self_attention(layer, x)
            x = self._cross_attention(layer, x, keys[objects], memory, output)  # from layer 0 on: [O, T, L, C]
            x = x + self._model.feed_forward(layer, x)
        x = self._attention.layer_norm(x).flatten(0, 1)
        return x.transpose(1, 2).unflatten(2, embedding.shape[-2:])

    def _cross_attention(
        self, layer: MemoryAttentionLayer, x: Tensor, keys: Tokens, memory: Tokens, output: _Output
    ) -> Tensor:
        """Return ``[O, T, L, C]``, x added, of ``[T, L, C]`` (shared by all objects) or ``[O, T, L, C]``."""
        attention = layer.cross_attn_image
        targets, tokens = x.shape[-3:-1]
        out = attend(
            self._one_axis(attention.q_proj(layer.layer_norm2(x))),
            *self._tables,
            keys.values,
            memory.values,
            output.weight,
            output.bias,
            self._one_axis(x),
            scale=attention.scaling,
            key_scales=keys.scales,
            value_scales=memory.scales,
        )
        return out.unflatten(1, (targets, tokens))

    def _one_axis(self, x: Tensor) -> Tensor:
        """Return ``[1 or O, T*L, C]``: all targets of an object as queries of one key set."""
        return x.reshape(-1, x.shape[-3] * x.shape[-2], x.shape[-1])

    def _fused_self_attention(self, layer: MemoryAttentionLayer, x: Tensor) -> Tensor:
        attention = layer.self_attn
        normed = layer.layer_norm1(x).flatten(0, -3)  # [N, L, C]
        out = attend(
            attention.q_proj(normed),
            *self._tables,
            rotate(attention.k_proj(normed), *self._tables),
            attention.v_proj(normed),
            attention.o_proj.weight,
            attention.o_proj.bias,
            x.flatten(0, -3),
            scale=attention.scaling,
        )
        return out.view_as(x)

    def _library_self_attention(self, layer: MemoryAttentionLayer, x: Tensor) -> Tensor:
        attention = layer.self_attn
        normed = layer.layer_norm1(x).flatten(0, -3)  # [N, L, C]
        query, key = (rotate(project(normed), *self._tables) for project in (attention.q_proj, attention.k_proj))
        query, key, value = (part.unsqueeze(1) for part in (query, key, attention.v_proj(normed)))  # one head
        with sdpa_kernel(FASTEST_FIRST, set_priority=True):
            out = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
        return x + attention.o_proj(out.squeeze(1)).view_as(x)


def _absorbed(attention: Attention, dtype: torch.dtype) -> _Output:
    """Return the product from attended raw memory straight to the output, made in fp64, which autocast leaves alone."""
    output = attention.o_proj.weight.double()
    bias = output @ attention.v_proj.bias.double() + attention.o_proj.bias.double()
    return _Output(weight=(output @ attention.v_proj.weight.double()).to(dtype), bias=bias.float())
