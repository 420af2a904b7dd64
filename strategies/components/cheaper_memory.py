"""Cheaper ways to read a memory bank, none of which is exact: fewer tokens, coarser ones, or narrower numbers.

An option is a word or a word and a number, as ``topk_tokens:64``. Each acts on the projected bank of every layer:

- ``topk_frames:N``: the N spatial memories whose pooled keys are most alike the pooled queries, for each pair;
- ``topk_tokens:N``: the N tokens of spatial memories whose keys are most alike the pooled queries, for each pair;
- ``pooled:2`` or ``pooled:4``: squares of so many tokens a side become one, whose key (after the rotary encoding) and
  value are their means, with log(4) or log(16) added to its score. Where all keys of a square are the same, this
  changes nothing. EfficientTAM (Xiong et al. 2024) does so in a network that is trained with it; here it is not.

``last:N`` and ``decay:L`` need times, so streams apply them: the N newest tracked memories, and scores that are less by
L for each frame of a tracked memory's age; labelled frames do not age. Pointers are always kept.

``kv=int8`` and ``kv=fp8`` round keys and values to 8 bits and widen them again, because torch's attention reads no
8 bits. That shows what masks lose, and saves neither time nor memory, which `triton` does, whose kernel reads them so.
``layers=N`` leaves out all layers of memory attention but the first N.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from strategies.components.memory_attention import SharedBank, project_bank
from strategies.components.memory_bank import MemoryBank
from strategies.components.quantised import KV, KVS, stored
from strategies.errors import UserError, one_of
from strategies.models.dimensions import Dimensions
from strategies.models.tracker import Tracker

KINDS = ("all", "last", "topk_frames", "topk_tokens", "pooled", "decay")
OF_TRACKED = ("last", "decay")
"""Kinds that say something of the ages of frames that were tracked."""
POOLED = (2, 4)


@dataclass(frozen=True, kw_only=True)
class CheaperMemory:
    """The options ``memory``, ``kv`` and ``layers`` of a strategy.

    layers: of memory attention, the first so many. exact: whether masks are those of memory read as it is.
    """

    reading: Reading
    kv: KV
    layers: int
    exact: bool

    @staticmethod
    def of(dimensions: Dimensions, *, memory: str, kv: KV, layers: int | None) -> CheaperMemory:
        """Read the options. Raises UserError where there is no such one, or the model's memory does not bear it."""
        one_of("kv", kv, KVS)
        if layers is not None and layers < 1:
            raise UserError(f"layers={layers} must be at least 1")
        reading, every = reading_of(memory, dimensions), dimensions.memory_attention.layers
        first = every if layers is None else min(layers, every)
        exact = reading.kind == "all" and kv == "own" and first == every
        return CheaperMemory(reading=reading, kv=kv, layers=first, exact=exact)

    def projected(self, model: Tracker, memory: MemoryBank) -> SharedBank:
        """Project a bank so that it is read in this way."""
        bank = quantised(project_bank(model, memory, layers=self.layers), self.kv)
        return cheaper(bank, self.reading, model.dimensions, pointer_tokens=memory.pointer_tokens)


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How memory is read: a kind of `KINDS`, and its number, 0 for ``all``."""

    kind: str
    number: float

    def only(self, kind: str) -> float | None:
        """Return the number, if it is of that kind."""
        return self.number if self.kind == kind else None

    def chosen_together(self, dimensions: Dimensions) -> int | None:
        """Return how many tokens are chosen as one, where each pair chooses; else None."""
        return {"topk_tokens": 1, "topk_frames": dimensions.memory_tokens}.get(self.kind)

    def tokens(self, spatial: int, dimensions: Dimensions) -> int:
        """Return how many tokens a query reads where there are so many of spatial memories."""
        if self.kind == "pooled":
            return spatial // int(self.number) ** 2
        together = self.chosen_together(dimensions)
        return spatial if together is None else min(int(self.number) * together, spatial)


def reading_of(option: str, dimensions: Dimensions) -> Reading:
    """Read an option. Raises UserError where there is no such way to read, or the model's memory does not bear it."""
    kind, _, number = option.partition(":")
    one_of("memory", kind, KINDS)
    if kind == "all" and not number:
        return Reading(kind=kind, number=0)
    try:
        reading = Reading(kind=kind, number=float(number))
    except ValueError:
        raise UserError(f"memory={option} needs a number behind a colon, as in memory={kind}:2") from None
    if kind == "all":
        raise UserError(f"memory={option} takes no number: use memory=all")
    if not 0 <= reading.number < float("inf"):
        raise UserError(f"memory={option} needs a number of at least 0")
    if kind != "decay" and (reading.number != int(reading.number) or reading.number < 1):
        raise UserError(f"memory={option} needs a whole number of at least 1")
    if kind == "pooled":
        _check_pooled(int(reading.number), dimensions)
    return reading


def _check_pooled(side: int, dimensions: Dimensions) -> None:
    if side not in POOLED:
        raise UserError(f"memory=pooled:{side} is not known; choose one of {', '.join(map(str, POOLED))}")
    if dimensions.memory_tokens != dimensions.image_tokens:
        raise UserError(
            f"memory=pooled:{side} needs a token for each place of the picture, which this model's memories have not: "
            "choose another memory"
        )


def cheaper(bank: SharedBank, reading: Reading, dimensions: Dimensions, *, pointer_tokens: int) -> SharedBank:
    """Return the bank so that it is read in that way; ``last`` and ``decay`` change nothing here.

    pointer_tokens: how many of the last tokens are those of pointers.
    """
    if reading.kind == "pooled":
        return _pooled(bank, int(reading.number), dimensions, pointer_tokens=pointer_tokens)
    together = reading.chosen_together(dimensions)
    if together is None:
        return bank
    return replace(bank, read=_Best(count=int(reading.number), tokens=together, pointer_tokens=pointer_tokens))


def _pooled(bank: SharedBank, side: int, dimensions: Dimensions, *, pointer_tokens: int) -> SharedBank:
    across = round(dimensions.image_tokens**0.5)

    def means(values: Tensor) -> Tensor:  # [..., M, d]
        split = values.shape[-2] - pointer_tokens
        squares = values[..., :split, :].unflatten(-2, (-1, across // side, side, across // side, side))
        pooled = squares.mean(dim=(-2, -4)).flatten(-4, -2)
        return torch.cat([pooled, values[..., split:, :]], dim=-2)

    keys, values = (tuple(means(each) for each in part) for part in (bank.keys, bank.values))
    tokens = keys[0].shape[-2]
    more = torch.zeros(tokens, device=keys[0].device)
    more[: tokens - pointer_tokens] = 2 * torch.log(torch.tensor(float(side)))
    bias = more if bank.bias is None else means(bank.bias.mT).mT + more
    return replace(bank, keys=keys, values=values, bias=bias.expand(len(keys[0]), 1, 1, tokens))


@dataclass(frozen=True, kw_only=True)
class _Best:
    """A reader of the ``count`` best groups of so many tokens each, and of all pointers; see `Read`."""

    count: int
    tokens: int
    pointer_tokens: int

    def __call__(
        self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        objects, split = len(key), key.shape[-2] - self.pointer_tokens
        pooled = query.mean(dim=-2).unflatten(0, (objects, -1))  # [O, T, heads, d]
        alike = (key[..., :split, :] @ pooled.permute(0, 2, 3, 1)).sum(dim=1).mT  # [O, T, tokens], of all heads
        if bias is not None:
            alike = alike + bias[:, 0, :, :split]
        groups = alike.unflatten(2, (-1, self.tokens)).mean(dim=3)
        best = groups.topk(min(self.count, groups.shape[2]), dim=2).indices.sort(dim=2).values
        spatial = (best[..., None] * self.tokens + torch.arange(self.tokens, device=key.device)).flatten(2)
        pointers = torch.arange(split, key.shape[-2], device=key.device).expand(*spatial.shape[:2], -1)
        chosen = torch.cat([spatial, pointers], dim=2)  # [O, T, tokens that are read]
        narrowed = None if bias is None else _of_pairs(bias.mT, chosen).mT
        return _of_pairs(key, chosen), _of_pairs(value, chosen), narrowed


def _of_pairs(values: Tensor, chosen: Tensor) -> Tensor:
    """Return ``[O*T, heads, K, d]``: of ``[O, heads, M, d]`` the tokens that each pair chose, ``[O, T, K]``."""
    places = chosen.flatten(1)[:, None, :, None].expand(-1, values.shape[1], -1, values.shape[-1])
    return values.gather(2, places).unflatten(2, chosen.shape[1:]).transpose(1, 2).flatten(0, 1)


def quantised(bank: SharedBank, kv: KV) -> SharedBank:
    """Return the bank with keys and values rounded to 8 bits by a scale for each token, and widened again."""
    if kv == "own":
        return bank
    keys, values = (tuple(stored(each, kv).widened(each.dtype) for each in part) for part in (bank.keys, bank.values))
    return replace(bank, keys=keys, values=values)
