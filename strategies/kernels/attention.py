"""Attention of many queries over few, shared banks of keys in Triton kernels, from rotary encoding to residual.

Values may be narrower than keys; SAM2's raw memory is 64 wide under keys of 256, which is what leaves registers for
loops that overlap matrix units and exponentials (`tiles.Loop`).

Deterministic: each output element is summed by the programs of its plan in one order. Which plan a call has depends on
its shape, and on what the tuner measured on this device, which is kept on disk with Triton's own cache; another plan is
another order of summation.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.components.quantised import BITS_8
from strategies.kernels.launch import Operands, Plan, run
from strategies.kernels.tuning import plan_for


def attend(
    query: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    weight: Tensor,
    bias: Tensor,
    residual: Tensor,
    *,
    scale: float,
    key_scales: Tensor | None = None,
    value_scales: Tensor | None = None,
    plan: Plan | None = None,
) -> Tensor:
    """Return ``residual + softmax(scale * rotate(query) keys^T) values weight^T + bias``, ``[G, N, C]``.

    The result has residual's dtype.
    query: ``[G, N, D]``, not yet rotated, or ``[1, N, D]`` for all groups; cos and sin: fp32 ``[L, D/2]``, query n
    takes row ``n % L``; keys: ``[G, M, D]``, rotated where they should be; values: ``[G, M, V]``; weight: ``[C, V]``;
    bias: ``[C]``; residual: ``[G, N, C]``, or ``[1, N, C]`` for all groups. All are contiguous; query, keys, values and
    weight share one dtype, in which products are taken with fp32 sums; D, V and C are powers of two from 16 on.
    key_scales and value_scales: fp32 ``[G, M]``, where keys and values are int8 or e4m3 and stand for themselves times
    these; query and weight give the dtype of products then.
    plan: how the kernel works, for what compares plans; None for what suits the shape and the device (`tuning`).
    """
    _check(query, keys, values, weight, residual, cos, sin, bias)
    _check_dtypes(query, keys, values, weight, key_scales, value_scales)
    operands = Operands(
        query=query,
        cos=cos,
        sin=sin,
        keys=keys,
        values=values,
        weight=weight,
        bias=bias,
        residual=residual,
        scale=scale,
        key_scales=key_scales,
        value_scales=value_scales,
    )
    return run(operands, plan or plan_for(operands))


def _check(query: Tensor, keys: Tensor, values: Tensor, weight: Tensor, residual: Tensor, *tables: Tensor) -> None:
    """Raise ValueError for what the kernel would silently read wrongly."""
    (groups, count, width), columns, queries = keys.shape, weight.shape[0], query.shape[1]
    cos, sin, bias = tables
    fit = (
        query.shape[0] in (1, groups)
        and residual.shape[0] in (1, groups)
        and query.shape[2] == width
        and values.shape[:2] == (groups, count)
        and weight.shape[1] == values.shape[2]
        and residual.shape[1:] == (queries, columns)
        and cos.shape == sin.shape == (cos.shape[0], width // 2)
        and bias.shape == (columns,)
    )
    if not fit:
        shapes = [tuple(x.shape) for x in (query, keys, values, weight, residual, *tables)]
        raise ValueError(f"query, keys, values, weight, residual, cos, sin and bias do not fit together: {shapes}")
    widths = (width, values.shape[2], columns)
    if any(each < 16 or each & (each - 1) for each in widths):
        raise ValueError(f"widths of keys, values and output must be powers of two from 16 on, not {widths}")
    if not all(x.is_contiguous() for x in (query, keys, values, weight, residual, *tables)):
        raise ValueError("all tensors must be contiguous")


def _check_dtypes(
    query: Tensor, keys: Tensor, values: Tensor, weight: Tensor, key_scales: Tensor | None, value_scales: Tensor | None
) -> None:
    narrow = keys.dtype in BITS_8.values()
    dtypes = {x.dtype for x in (query, weight)} | (set() if narrow else {keys.dtype})
    if len(dtypes) > 1 or values.dtype != keys.dtype:
        raise ValueError(f"query, keys, values and weight differ in dtype: {query.dtype}, {keys.dtype}, ...")
    given = [x for x in (key_scales, value_scales) if x is not None]
    if len(given) != 2 * narrow:
        raise ValueError(f"keys and values of {keys.dtype} have {len(given)} tensors of scales instead of {2 * narrow}")
    if not all(x.shape == keys.shape[:2] and x.dtype == torch.float32 and x.is_contiguous() for x in given):
        raise ValueError(f"scales must be contiguous fp32 of shape {tuple(keys.shape[:2])}")
