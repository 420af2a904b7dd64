"""The Triton kernels against float64 on drawn inputs, into outputs that are NaN before.

They run on a GPU where there is one. Elsewhere they run in Triton's interpreter, which has to be on before anything
imports triton: `test_triton.py` starts a process for that, or do it yourself: ``TRITON_INTERPRET=1 pytest FILE``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from strategies import Sam2
from strategies.components import memory_attention
from strategies.components.quantised import KV, stored

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
pytest.importorskip("triton")
if not (INTERPRETED or torch.cuda.is_available()):
    pytest.skip("no CUDA: test_triton.py runs them with TRITON_INTERPRET=1", allow_module_level=True)

from triton import OutOfResources  # noqa: E402

from strategies.components.quantised import FP8_CAPABILITY  # noqa: E402
from strategies.kernels.attention import attend  # noqa: E402 - not where there is no Triton
from strategies.kernels.launch import Operands, Plan, used_parts  # noqa: E402
from strategies.kernels.rotary import rotate  # noqa: E402
from strategies.kernels.tiles import Loop, tile, tiles_for  # noqa: E402
from strategies.kernels.tuning import SPECIALISED_CAPABILITIES  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
HAS_DESCRIPTORS = INTERPRETED or torch.cuda.get_device_capability()[0] in SPECIALISED_CAPABILITIES
HAS_FP8 = INTERPRETED or torch.cuda.get_device_capability() >= FP8_CAPABILITY
EIGHT_BITS: tuple[KV, ...] = ("int8", "fp8") if HAS_FP8 else ("int8",)
LOOPS: tuple[Loop, ...] = ("plain", "ahead", "specialised") if HAS_DESCRIPTORS else ("plain", "ahead")

TABLE_ROWS = 24
"""The rows of the rotary tables in these tests; no tile has as many queries."""

TOLERANCE = {torch.float32: 16 * 2**-23, torch.bfloat16: 2 * 2**-7, torch.float16: 2 * 2**-10}
"""The tolerance of a row, relative to its norm, against the same computation in float64.

It is in steps of the dtype (twice its rounding). Rotated query, shares and attended values are each rounded once, half
a step at worst and independent of each other; the interpreter cuts bf16 off where a GPU rounds, which costs a step and
points in one direction. In fp32 the roundings of up to 256 summands count.
"""


class Inputs(Operands):
    """Arguments of `attend`."""

    def arguments(self) -> dict[str, Any]:
        return {name: value.to(DEVICE) if isinstance(value, Tensor) else value for name, value in vars(self).items()}


def draw(
    *,
    groups: int = 2,
    queries: int = 37,
    count: int = 50,
    width: int = 128,
    value_width: int = 64,
    columns: int = 128,
    dtype: torch.dtype = torch.float32,
    shared: bool = False,
    seed: int = 0,
) -> Inputs:
    """Normal inputs, scores of deviation 2 (so that shares differ), results of deviation about 1."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int, std: float = 1.0) -> Tensor:
        return std * torch.randn(*shape, generator=generator)

    angles = normal(TABLE_ROWS, width // 2, std=3.0)
    of_queries = 1 if shared else groups
    return Inputs(
        query=normal(of_queries, queries, width, std=2.0).to(dtype),
        cos=angles.cos(),
        sin=angles.sin(),
        keys=normal(groups, count, width).to(dtype),
        values=normal(groups, count, value_width).to(dtype),
        weight=normal(columns, value_width, std=value_width**-0.5).to(dtype),
        bias=normal(columns),
        residual=normal(of_queries, queries, columns),
        scale=width**-0.5,
    )


def exact(inputs: Inputs) -> Tensor:
    """float64 ``[G, N, C]`` without the residual, of the inputs as they are rounded."""
    pairs = inputs.query.double().unflatten(-1, (-1, 2))
    rows = torch.arange(pairs.shape[1]) % TABLE_ROWS
    cos, sin = inputs.cos[rows].double(), inputs.sin[rows].double()
    even, odd = pairs.unbind(-1)
    query = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    shares = (inputs.scale * query @ inputs.keys.double().mT).softmax(dim=-1)
    return shares @ inputs.values.double() @ inputs.weight.double().mT + inputs.bias.double()


def attended(inputs: Inputs, plan: Plan | None = None) -> Tensor:
    """What the kernel makes of them, on the CPU."""
    with _empty_is_nan():
        return attend(**inputs.arguments(), plan=plan).cpu()


def plan_of(loop: Loop, *, parts: int = 1) -> Plan:
    """A plan in tiles of 128 queries and 64 keys, which every loop can have."""
    return Plan(tile=tile(128, 64, 64, 4, 2, loop=loop), parts=parts)


@contextmanager
def _empty_is_nan() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.ones(1).new_empty(2, 2, device=DEVICE).isnan().all()
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def assert_close(inputs: Inputs, out: Tensor) -> None:
    expected = exact(inputs)
    assert out.shape == expected.shape
    assert out.dtype == inputs.residual.dtype
    error = (out.double() - inputs.residual.double() - expected).norm(dim=-1) / expected.norm(dim=-1)
    assert error.max() <= TOLERANCE[inputs.query.dtype]


# --- attention -----------------------------------------------------------------------------------------------------


@settings(deadline=None, derandomize=True, max_examples=12)
@given(
    groups=st.integers(1, 3),
    queries=st.integers(1, 80),
    count=st.integers(1, 80),
    dtype=st.sampled_from(DTYPES),
    shared=st.booleans(),
    seed=st.integers(0, 10_000),
)
@example(groups=1, queries=1, count=1, dtype=torch.float32, shared=False, seed=1)
@example(groups=1, queries=64, count=64, dtype=torch.bfloat16, shared=False, seed=2)
@example(groups=3, queries=65, count=33, dtype=torch.float32, shared=True, seed=3)
def test_attention_is_that_of_float64(
    groups: int, queries: int, count: int, dtype: torch.dtype, shared: bool, seed: int
) -> None:
    inputs = draw(groups=groups, queries=queries, count=count, dtype=dtype, shared=shared, seed=seed)
    assert_close(inputs, attended(inputs))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("width", "value_width", "columns"), [(256, 64, 256), (256, 256, 256), (128, 128, 128), (64, 16, 32), (16, 64, 16)]
)
def test_attention_has_the_widths_of_the_published_models_and_of_others(
    width: int, value_width: int, columns: int, dtype: torch.dtype
) -> None:
    inputs = draw(width=width, value_width=value_width, columns=columns, dtype=dtype)
    assert_close(inputs, attended(inputs))


@pytest.mark.parametrize("value_width", [64, 256])
@pytest.mark.parametrize("dtype", DTYPES[:2])  # fp16 has the tiles of bf16, and is of the same size
def test_every_tile_is_right(dtype: torch.dtype, value_width: int) -> None:
    inputs = draw(groups=1, queries=70, count=140, width=256, value_width=value_width, columns=256, dtype=dtype)
    for one in tiles_for(dtype.itemsize, value_width, descriptors=HAS_DESCRIPTORS, tf32=True):
        with suppress(OutOfResources):  # on a smaller GPU, where the tuner drops that tile
            assert_close(inputs, attended(inputs, Plan(tile=one)))


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("loop", LOOPS[1:])
def test_loops_differ_in_nothing_but_their_order(loop: Loop, shared: bool) -> None:
    """Queries and keys end within a tile, and the queries of a group within the tables."""
    inputs = draw(groups=3, queries=TABLE_ROWS + 13, count=77, dtype=torch.bfloat16, shared=shared)
    ours, plain = attended(inputs, plan_of(loop)), attended(inputs, plan_of("plain"))
    assert_close(inputs, ours)
    assert not INTERPRETED or torch.equal(ours, plain)


# --- keys in parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "parts", "used"),
    [(200, 2, 2), (129, 3, 3), (300, 4, 3), (128, 2, 2), (31, 8, 1)],
    ids=["halves", "one key in the last", "one would be empty", "no rest", "fewer keys than a tile"],
)
@pytest.mark.parametrize("loop", LOOPS)
def test_keys_in_parts_are_as_near_to_float64_as_in_one(loop: Loop, count: int, parts: int, used: int) -> None:
    """In fp32, which hides least; on a GPU its tiles of this size have no room."""
    inputs = draw(groups=2, queries=37, count=count, dtype=torch.float32 if INTERPRETED else torch.bfloat16)
    assert used_parts(count, 64, parts) == used
    assert_close(inputs, attended(inputs, plan_of(loop, parts=parts)))


def test_parts_whose_scores_are_far_apart_are_merged_by_their_maxima() -> None:
    """The last part has nearly all the weight; a merge that took each part's own maximum would share it evenly."""
    inputs = draw(count=192, dtype=torch.float32 if INTERPRETED else torch.bfloat16)
    inputs = replace(inputs, keys=inputs.keys * torch.linspace(0.1, 2, 192)[None, :, None])
    assert_close(inputs, attended(inputs, plan_of("plain", parts=3)))


# --- keys and values in 8 bits -------------------------------------------------------------------------------------


def narrowed(inputs: Inputs, kv: KV) -> tuple[Inputs, Inputs]:
    """The inputs with keys and values in 8 bits, and with what these stand for, in float64."""
    keys, values = stored(inputs.keys, kv), stored(inputs.values, kv)
    narrow = replace(inputs, keys=keys.values, values=values.values, key_scales=keys.scales, value_scales=values.scales)
    return narrow, replace(inputs, keys=keys.widened(torch.float64), values=values.widened(torch.float64))


@settings(deadline=None, derandomize=True, max_examples=10)
@given(
    groups=st.integers(1, 3),
    queries=st.integers(1, 80),
    count=st.integers(1, 200),
    dtype=st.sampled_from(DTYPES if INTERPRETED else DTYPES[1:]),  # On a GPU no fp32 tile of this size has room.
    loop=st.sampled_from(LOOPS),
    parts=st.integers(1, 3),
    kv=st.sampled_from(EIGHT_BITS),
    seed=st.integers(0, 10_000),
)
@example(groups=1, queries=1, count=1, dtype=torch.bfloat16, loop="ahead", parts=1, kv="int8", seed=1)
@example(groups=3, queries=65, count=129, dtype=torch.bfloat16, loop="plain", parts=3, kv="int8", seed=2)
def test_attention_over_8_bits_is_that_of_float64_over_what_they_stand_for(
    groups: int, queries: int, count: int, dtype: torch.dtype, loop: Loop, parts: int, kv: KV, seed: int
) -> None:
    """Tokens are of very different size, so that a scale that went to another token shows."""
    inputs = draw(groups=groups, queries=queries, count=count, dtype=dtype, seed=seed)
    sizes = torch.logspace(-2, 0, count)[torch.randperm(count, generator=torch.Generator().manual_seed(seed))]
    inputs = replace(inputs, keys=inputs.keys * sizes[:, None], values=inputs.values * sizes.flip(0)[:, None])
    narrow, wide = narrowed(inputs, kv)
    assert_close(wide, attended(narrow, plan_of(loop, parts=parts)))


@pytest.mark.parametrize("kv", EIGHT_BITS)
def test_keys_of_nothing_in_8_bits_share_evenly(kv: KV) -> None:
    inputs = draw(dtype=torch.bfloat16)
    narrow, wide = narrowed(replace(inputs, keys=torch.zeros_like(inputs.keys)), kv)
    assert_close(wide, attended(narrow))


@pytest.mark.parametrize("kv", EIGHT_BITS)
def test_small_values_in_8_bits_keep_their_bits_in_fp16(kv: KV) -> None:
    """Their scales are so small that shares which carry them would be subnormal."""
    inputs = draw(count=129, queries=9, dtype=torch.float16)
    nothing = {name: torch.zeros_like(getattr(inputs, name)) for name in ("bias", "residual")}
    narrow, wide = narrowed(replace(inputs, values=inputs.values * 1e-3, **nothing), kv)
    ours, exactly = attended(narrow).double(), exact(wide)
    assert ((ours - exactly).norm(dim=-1) / exactly.norm(dim=-1)).max() <= TOLERANCE[torch.float16]


def test_8_bits_without_their_scales_are_refused() -> None:
    narrow, _ = narrowed(draw(), "int8")
    for change, message in (
        ({"key_scales": None}, "1 tensors of scales instead of 2"),
        ({"key_scales": narrow.key_scales[:, 1:]}, "scales must be contiguous fp32 of shape"),
        ({"values": narrow.values.float()}, "differ in dtype"),
    ):
        with pytest.raises(ValueError, match=message):
            attend(**replace(narrow, **change).arguments())
    with pytest.raises(ValueError, match="2 tensors of scales instead of 0"):
        attend(**replace(draw(), key_scales=narrow.key_scales, value_scales=narrow.value_scales).arguments())


# --- what any plan has to keep true --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_key_that_outweighs_all_others_gets_everything(dtype: torch.dtype) -> None:
    """Scores of some thousands: a softmax that does not subtract its maximum ends in inf / inf."""
    for winner in (0, 31, 49):  # in the first tile, at its end, in the tail
        inputs = draw(dtype=dtype)
        inputs.keys[:, winner] = 0
        inputs = replace(inputs, query=inputs.query * 200, keys=inputs.keys * 0.01)
        towards = memory_attention.rotate(
            inputs.query[:, :1], inputs.cos[:1].repeat_interleave(2, -1), inputs.sin[:1].repeat_interleave(2, -1)
        )
        inputs.keys[:, winner] = (towards[:, 0] * 0.1).to(dtype)
        out = attended(inputs)[:, 0] - inputs.residual[:, 0]
        alone = inputs.values[:, winner].double() @ inputs.weight.double().mT + inputs.bias.double()
        assert torch.isfinite(out).all()
        assert ((out - alone).norm(dim=-1) / alone.norm(dim=-1)).max() <= TOLERANCE[dtype]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy's, about NaN in the interpreter
def test_nothing_is_read_beyond_the_end_of_a_group() -> None:
    inputs = draw(groups=3)
    poisoned = {
        name: torch.cat([getattr(inputs, name)[:2], torch.full_like(getattr(inputs, name)[2:], float("nan"))])
        for name in ("query", "keys", "values", "residual")
    }
    assert torch.equal(attended(replace(inputs, **poisoned))[:2], attended(inputs)[:2])


def test_groups_may_share_queries_and_residual() -> None:
    inputs = draw(groups=3, shared=True)
    copies = replace(inputs, query=inputs.query.repeat(3, 1, 1), residual=inputs.residual.repeat(3, 1, 1))
    assert torch.equal(attended(inputs), attended(copies))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_query_does_not_depend_on_those_beside_it(dtype: torch.dtype) -> None:
    inputs = draw(queries=3 * TABLE_ROWS, dtype=dtype)
    tail = slice(TABLE_ROWS, None)  # the same rows of the tables, elsewhere in a tile
    alone = replace(inputs, query=inputs.query[:, tail].contiguous(), residual=inputs.residual[:, tail].contiguous())
    assert torch.equal(attended(alone), attended(inputs)[:, tail])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_result_has_the_residuals_dtype(dtype: torch.dtype) -> None:
    inputs = draw(dtype=torch.bfloat16)
    out = attended(replace(inputs, residual=inputs.residual.to(dtype)))
    assert out.dtype == dtype


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_twice_is_bit_equal(dtype: torch.dtype) -> None:
    inputs = draw(dtype=dtype)
    assert torch.equal(attended(inputs), attended(inputs))


def test_inputs_that_do_not_fit_are_refused() -> None:
    inputs = draw()
    for change, message in {
        "values": (inputs.values[:, 1:].contiguous(), "do not fit together"),
        "query": (inputs.query.bfloat16(), "differ in dtype"),
        "keys": (inputs.keys.mT.contiguous().mT, "contiguous"),
    }.items():
        with pytest.raises(ValueError, match=message[1]):
            attend(**replace(inputs, **{change: message[0]}).arguments())
    with pytest.raises(ValueError, match="powers of two"):
        attend(**draw(columns=48).arguments())


# --- rotary encoding -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
def test_rotary_encoding_is_that_of_the_component(model: Sam2, dtype: torch.dtype) -> None:
    cos, sin = model.rotary
    x = torch.randn(3, *cos.shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    with _empty_is_nan():
        ours = rotate(*(each.to(DEVICE) for each in (x, cos[:, ::2].contiguous(), sin[:, ::2].contiguous()))).cpu()
    theirs = memory_attention.rotate(x, cos, sin)
    assert ours.dtype == dtype
    # The interpreter cuts bf16 off: a step of the dtype. Elsewhere only the last bit of fp32 may differ.
    assert torch.allclose(ours.double(), theirs.double(), rtol=torch.finfo(dtype).eps, atol=1e-6)


def test_rows_of_every_group_begin_at_the_first_of_the_tables() -> None:
    x = torch.randn(3, 2 * TABLE_ROWS + 5, 64, generator=torch.Generator().manual_seed(0))
    angles = torch.randn(TABLE_ROWS, 32, generator=torch.Generator().manual_seed(1))
    ours, alone = (rotate(*(each.to(DEVICE) for each in (part, angles.cos(), angles.sin()))) for part in (x, x[2:]))
    assert torch.equal(ours[2:], alone)


def test_rotary_encoding_knows_odd_sizes_and_small_widths() -> None:
    for rows, width in ((7, 16), (100, 64), (1, 256)):
        angles = torch.randn(rows, width // 2, generator=torch.Generator().manual_seed(rows))
        x = torch.randn(2, rows, width, generator=torch.Generator().manual_seed(width))
        with _empty_is_nan():
            ours = rotate(*(each.to(DEVICE) for each in (x, angles.cos(), angles.sin()))).cpu()
        whole = angles.repeat_interleave(2, dim=-1)
        assert torch.allclose(ours, memory_attention.rotate(x, whole.cos(), whole.sin()), atol=1e-6)
