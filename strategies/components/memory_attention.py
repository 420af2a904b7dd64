"""SAM2's memory attention for T targets and O objects at once, in the ways that the bank can reach the batch.

`condition_per_pair` hands the network's own module one copy (or view) of the bank for every (target, object) pair.
`condition_shared` takes the exact savings of DESIGN section 2: the bank's keys are projected and rotated once per
group (`SharedBank`), all targets of an object form one long query axis, and layer 0 runs once per target up to its
cross-attention, because nothing before that depends on the object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from strategies.components.memory_bank import MemoryBank
from strategies.models.modules import MemoryAttentionLayer
from strategies.models.tracker import Tracker

Read = Callable[[Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor | None]]
"""It makes of queries, keys, values and bias the keys, values and bias that are read.

Queries are those of pairs, ``[O*T, heads, L, d]`` (object-major), as each reads what is best for itself, whatever else
is in the batch. Keys and values come as ``[O, heads, M, d]``, and leave as ``[O*T, heads, tokens that are read, d]``.
"""


@dataclass(frozen=True, kw_only=True)
class SharedBank:
    """The keys (rotated) and values of every layer's cross-attention, each ``[O, heads, M, d]``: a KV cache.

    There may be fewer layers than the network has; then its last ones are left out. bias: that of the `MemoryBank`.
    read: what picks the keys, values and bias that each pair of a layer reads; None for all.
    """

    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    bias: Tensor | None = None
    read: Read | None = None

    def objects(self, chosen: slice) -> SharedBank:
        return replace(
            self,
            keys=tuple(key[chosen] for key in self.keys),
            values=tuple(value[chosen] for value in self.values),
            bias=None if self.bias is None else self.bias[chosen],
        )


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate ``[..., L, d]`` by tables ``[L, d]``, in fp32 as the original does (RoFormer, axial 2-d).

    Both columns of a pair share their angle. To turn a pair is to multiply a complex number, for which torch has one
    kernel; its compiler has none, and makes one of its own of the same arithmetic written out.
    """
    pairs = x.float().unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        turned = torch.stack((-pairs[..., 1], pairs[..., 0]), dim=-1).flatten(-2)
        return (x.float() * cos + turned * sin).type_as(x)
    angles = torch.complex(cos[..., ::2], sin[..., ::2])
    return torch.view_as_real(torch.view_as_complex(pairs) * angles).flatten(-2).type_as(x)


def project_bank(model: Tracker, bank: MemoryBank, *, layers: int | None = None) -> SharedBank:
    """Project the bank once per group and layer, for the first so many layers, or for all."""
    attentions = [layer.cross_attn_image for layer in model.memory_attention.layers[:layers]]
    values = (_heads(attention.v_proj(bank.memory), attention.num_attention_heads) for attention in attentions)
    keys = tuple(project_keys(model, bank, layers=layers))
    return SharedBank(keys=keys, values=tuple(value.contiguous() for value in values), bias=bank.bias)


def project_keys(model: Tracker, bank: MemoryBank, *, layers: int | None = None) -> Iterator[Tensor]:
    """Project each layer's keys, ``[O, heads, M, d]``, and rotate them; the tables of pointers turn nothing.

    They come one layer at a time, so that who stores them in fewer bits never has all of them as they are.
    """
    memories = (bank.memory.shape[1] - bank.pointer_tokens) // model.dimensions.memory_tokens
    cos, sin = (F.pad(table, (0, 0, 0, bank.pointer_tokens)) for table in model.memory_rotary(memories))
    cos[len(cos) - bank.pointer_tokens :] = 1
    placed = bank.memory + bank.position
    for layer in model.memory_attention.layers[:layers]:
        attention = layer.cross_attn_image
        yield rotate(_heads(attention.k_proj(placed), attention.num_attention_heads), cos, sin)


def condition_shared(
    model: Tracker, embedding: Tensor, bank: SharedBank, *, target_of_object: Tensor | None = None
) -> Tensor:
    """Condition embeddings ``[T, C, h, w]`` on every object's memory; returns ``[O*T, C, h, w]`` (object-major).

    target_of_object: int64 ``[O]``, where each object is to be found in one of the targets alone; returns ``[O, ...]``.
    """
    attention = model.memory_attention
    x = model.memory_attention_input(embedding)  # [T, L, C]: no object yet
    layers = attention.layers[: len(bank.keys)]
    for number, (layer, key, value) in enumerate(zip(layers, bank.keys, bank.values, strict=True)):
        x = x + _self_attention(model, layer, x)
        if number == 0 and target_of_object is not None:
            x = x[target_of_object].unsqueeze(1)
        x = x + _cross_attention(model, layer, x, key, value, bank)  # from layer 0 on: [O, T, L, C]
        x = x + model.feed_forward(layer, x)
    x = attention.layer_norm(x).flatten(0, 1)
    return x.transpose(1, 2).unflatten(2, embedding.shape[-2:])


def condition_per_pair(model: Tracker, embedding: Tensor, bank: MemoryBank, *, copies: bool) -> Tensor:
    """Return the result of `condition_shared` by the network's own module, keys and values projected for every pair.

    copies: the bank is repeated for all O*T pairs in one call; else each object's bank is expanded, a view, to T
    targets in a call of its own, because no view has both objects and copies of targets along one axis.
    """
    targets = embedding.shape[0]
    queries = embedding.flatten(2).permute(2, 0, 1)  # [L, T, C]
    if copies:
        memory = bank.memory.repeat_interleave(targets, dim=0)
        out = _attend(model, queries.repeat(1, bank.memory.shape[0], 1), memory, bank)
    else:
        views = [memory.expand(targets, -1, -1) for memory in bank.memory]
        out = torch.cat([_attend(model, queries, memory, bank) for memory in views])
    return out.transpose(1, 2).unflatten(2, embedding.shape[-2:])


def _attend(model: Tracker, queries: Tensor, memory: Tensor, bank: MemoryBank) -> Tensor:
    return model.attend_to_memory(queries, memory, bank.position, pointer_tokens=bank.pointer_tokens)


def _self_attention(model: Tracker, layer: MemoryAttentionLayer, x: Tensor) -> Tensor:
    attention = layer.self_attn
    cos, sin = model.rotary
    normed = layer.layer_norm1(x).flatten(0, -3)  # [N, L, C]
    query = rotate(_heads(attention.q_proj(normed), attention.num_attention_heads), cos, sin)
    key = rotate(_heads(attention.k_proj(normed), attention.num_attention_heads), cos, sin)
    value = _heads(attention.v_proj(normed), attention.num_attention_heads)
    out = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return attention.o_proj(out.transpose(1, 2).flatten(2)).view_as(x)


def _cross_attention(
    model: Tracker, layer: MemoryAttentionLayer, x: Tensor, key: Tensor, value: Tensor, bank: SharedBank
) -> Tensor:
    """Return ``[O, T, L, C]`` from queries of ``[T, L, C]`` (shared by all objects) or ``[O, T, L, C]``."""
    attention = layer.cross_attn_image
    cos, sin = model.rotary
    projected = attention.q_proj(layer.layer_norm2(x)).unflatten(-1, (attention.num_attention_heads, -1))
    query = rotate(projected.movedim(-2, -4), cos, sin)  # [heads, T, L, d] or [O, heads, T, L, d]
    objects, bias = len(key), bank.bias
    if bank.read is None:
        query = _fold_targets(query, objects=objects)
    else:
        query = query.expand(objects, *query.shape[-4:]).transpose(1, 2).flatten(0, 1)  # [O*T, heads, L, d]
        key, value, bias = bank.read(query, key, value, bias)
    mask = None if bias is None else bias.to(query.dtype)
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=attention.scaling)
    return attention.o_proj(out.transpose(1, 2).flatten(2)).view(objects, *x.shape[-3:])


def _fold_targets(query: Tensor, *, objects: int) -> Tensor:
    """Return ``[O, heads, T*L, d]``: all targets of an object as one query axis; a view for objects that share it."""
    folded = query.flatten(-3, -2)
    return folded if folded.dim() == 4 else folded.expand(objects, -1, -1, -1)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)
