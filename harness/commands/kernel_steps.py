"""The step that kernels are compared by: a cross-attention from the query before its rotary encoding to the residual.

Its inputs, what is exact, and the step by the fused kernel and by each of the library's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from strategies.components.memory_attention import rotate
from strategies.components.quantised import KV, check_kv, stored
from strategies.models.precision import DTYPES

if TYPE_CHECKING:
    from strategies.kernels.launch import Operands, Plan

FUSED = "fused"
POINTER_TOKENS = 4
"""The pointer tokens of each memory frame: the hidden size of 256 in tokens of 64."""
CHECKED_QUERIES = 512
"""The most queries, spread over all, that are compared with float64: the scores of all would not fit into memory."""

Step = Callable[[], Tensor]
Turn = Callable[[Tensor], Tensor]
"""The rotary encoding of queries ``[O, N, D]``."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The numbers of memory frames, objects, targets and an image's tokens; the widths of keys and of raw memory."""

    frames: int
    objects: int
    targets: int
    tokens: int
    width: int
    memory: int

    @property
    def queries(self) -> int:
        return self.targets * self.tokens

    @property
    def keys(self) -> int:
        return self.frames * (self.tokens + POINTER_TOKENS)

    def flops(self, values: int) -> int:
        """Count the FLOPs of attention with values that wide and of the output's product; a multiply-add is 2."""
        return 2 * self.objects * self.queries * (self.keys * (self.width + values) + values * self.width)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """query ``[O, N, D]``; cos, sin ``[L, D]``; keys ``[O, M, D]``; raw memory ``[O, M, V]``; residual ``[O, N, D]``.

    project ``[D, V]``: from raw memory to values; out ``[D, D]``: the output's product.
    """

    query: Tensor
    cos: Tensor
    sin: Tensor
    keys: Tensor
    memory: Tensor
    project: Tensor
    out: Tensor
    bias: Tensor
    residual: Tensor

    @property
    def scale(self) -> float:
        return float(self.keys.shape[-1]) ** -0.5


def tolerance(dtype: str) -> float:
    """Return the largest error that a row may have, relative to its norm.

    Query, shares and attended values are each rounded once (`tests/strategies/test_kernels.py` has the same for the
    kernel alone), which makes 2 steps of the dtype; the library's projected values make one more.
    """
    return 3 * torch.finfo(DTYPES[dtype]).eps if dtype != "fp32" else 64 * torch.finfo(torch.float32).eps


def draw(shape: Shape, dtype: torch.dtype, device: torch.device, *, seed: int) -> Inputs:
    """Draw normal inputs, with scores of standard deviation 2 so that shares differ."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*sizes: int, std: float = 1.0, of: torch.dtype = dtype) -> Tensor:
        return (std * torch.randn(*sizes, generator=generator, device=device)).to(of)

    angles = normal(shape.tokens, shape.width // 2, std=3.0, of=torch.float32).repeat_interleave(2, dim=-1)
    rows = (shape.objects, shape.queries, shape.width)
    return Inputs(
        query=normal(*rows, std=2.0),
        cos=angles.cos(),
        sin=angles.sin(),
        keys=normal(shape.objects, shape.keys, shape.width),
        memory=normal(shape.objects, shape.keys, shape.memory),
        project=normal(shape.width, shape.memory, std=shape.memory**-0.5),
        out=normal(shape.width, shape.width, std=shape.width**-0.5),
        bias=normal(shape.width, of=torch.float32),
        residual=normal(*rows, of=torch.float32),
    )


def fused_name(kv: KV) -> str:
    """Return the name of the fused step that reads keys and memory in so many bits."""
    return FUSED if kv == "own" else f"{FUSED}, kv={kv}"


def fused(inputs: Inputs, *, kv: KV = "own", plan: Plan | None = None) -> Step:
    from strategies.kernels.attention import attend  # This needs triton, which not all machines have.

    operands = _operands(inputs, kv)

    def step() -> Tensor:
        check_kv(kv, operands.query.device)
        return attend(**vars(operands), plan=plan)

    return step


def fused_plans(inputs: Inputs, kv: KV = "own") -> dict[str, Plan | None]:
    """Return the plans by which the fused step is timed: its own, and what that was chosen over.

    These are keys in one part, where it has several, and the first tile of each other loop that the tuner knows. None
    is for its own on a CPU, where there is nothing to choose.
    """
    name = fused_name(kv)
    if inputs.query.device.type == "cpu":
        return {name: None}
    from strategies.kernels.tuning import plan_for, tuner_for  # These need triton, which not all machines have.

    check_kv(kv, inputs.query.device)
    operands = _operands(inputs, kv)
    own = plan_for(operands)
    plans: dict[str, Plan | None] = {name: own}
    if own.parts > 1:
        plans[f"{name}, keys in one part"] = replace(own, parts=1)
    for tile in tuner_for(operands).configs:
        if tile.kwargs["loop"] != own.tile.kwargs["loop"]:
            plans.setdefault(f"{name}, {tile.kwargs['loop']} loop", replace(own, tile=tile))
    return plans


def _operands(inputs: Inputs, kv: KV) -> Operands:
    from strategies.kernels.launch import Operands  # This needs triton, which not all machines have.

    keys, memory = stored(inputs.keys, kv), stored(inputs.memory, kv)
    return Operands(
        query=inputs.query,
        cos=inputs.cos[:, ::2].contiguous(),
        sin=inputs.sin[:, ::2].contiguous(),
        keys=keys.values,
        values=memory.values,
        weight=(inputs.out.double() @ inputs.project.double()).to(inputs.out.dtype),
        bias=inputs.bias,
        residual=inputs.residual,
        scale=inputs.scale,
        key_scales=keys.scales,
        value_scales=memory.scales,
    )


def rounded(inputs: Inputs, kv: KV) -> Inputs:
    """Return inputs whose keys and memory are in fp32 what their 8 bits stand for, to be exact about."""
    if kv == "own":
        return inputs
    keys, memory = (stored(each, kv).widened(torch.float32) for each in (inputs.keys, inputs.memory))
    return replace(inputs, keys=keys, memory=memory)


def torch_rotary(inputs: Inputs) -> Turn:
    """Return the rotary encoding of `direct`."""
    targets = inputs.query.shape[1] // inputs.cos.shape[0]
    cos, sin = inputs.cos.repeat(targets, 1), inputs.sin.repeat(targets, 1)
    return lambda query: rotate(query, cos, sin)


def our_rotary(inputs: Inputs) -> Turn:
    """Return the rotary encoding of `triton`, one kernel, by which the library's attentions are at their best."""
    from strategies.kernels import rotary  # This needs triton, which not all machines have.

    cos, sin = inputs.cos[:, ::2].contiguous(), inputs.sin[:, ::2].contiguous()
    return lambda query: rotary.rotate(query, cos, sin)


def library(inputs: Inputs, backend: SDPBackend, turn: Turn, *, raw: bool) -> Step:
    """Return the library's step; the bank's values are projected once, outside it, as `direct` does."""
    values = inputs.memory if raw else inputs.memory @ inputs.project.mT
    weight = inputs.out @ inputs.project if raw else inputs.out

    def step() -> Tensor:
        query = turn(inputs.query)
        query, key, value = (part.unsqueeze(1) for part in (query, inputs.keys, values))  # There is one head.
        with sdpa_kernel(backend):
            attended = F.scaled_dot_product_attention(query, key, value, scale=inputs.scale).squeeze(1)
        return inputs.residual + (attended @ weight.mT + inputs.bias)

    return step


def exact(inputs: Inputs) -> Tensor:
    """Return the exact output of some queries, float64 ``[O, Q, D]``, without the residual."""
    chosen = _checked(inputs)
    rows = chosen % inputs.cos.shape[0]
    cos, sin = inputs.cos[rows, ::2].double(), inputs.sin[rows, ::2].double()
    even, odd = inputs.query[:, chosen].double().unflatten(-1, (-1, 2)).unbind(-1)
    query = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    shares = (inputs.scale * query @ inputs.keys.double().mT).softmax(dim=-1)
    attended = shares @ inputs.memory.double() @ inputs.project.double().mT
    return attended @ inputs.out.double().mT + inputs.bias.double()


def _checked(inputs: Inputs) -> Tensor:
    queries = inputs.query.shape[1]
    spread = torch.linspace(0, queries - 1, min(queries, CHECKED_QUERIES), device=inputs.query.device)
    return spread.round().long()


def error_of(out: Tensor, exact: Tensor, inputs: Inputs) -> float:
    """Return the error of ``out``; NaN where any element was not written."""
    if not torch.isfinite(out).all():
        return float("nan")
    chosen = _checked(inputs)
    added = out[:, chosen].double() - inputs.residual[:, chosen].double()
    return float(((added - exact).norm(dim=-1) / exact.norm(dim=-1)).max())


@contextmanager
def poisoned() -> Iterator[None]:
    """Fill new tensors with NaN, so that elements that are never written show."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
