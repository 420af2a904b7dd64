"""Tiles of the attention kernel, compiled for GPUs that are not here: what they take, and what their code is made of.

A few of each kind; `python -m harness.kernels --compile-only` compiles them all.
"""

from __future__ import annotations

import os

import pytest
import torch

pytest.importorskip("triton")
if os.environ.get("TRITON_INTERPRET") == "1":
    pytest.skip("nothing is compiled in the interpreter", allow_module_level=True)

from triton import Config

from strategies.components.quantised import KV
from strategies.kernels.ahead_of_time import CHIPS, Chip, compiled, compiled_merge
from strategies.kernels.tiles import HALF, HALF_SPECIALISED, HALF_WIDE, SINGLE, SINGLE_TF32, name_of

SM_80, SM_89, SM_90, SM_100 = CHIPS
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
WIDTH, MEMORY = 256, 64
SPILLED_OUTSIDE_THE_LOOP = 8
"""Bytes of a thread that the comment on `HALF` allows."""

pytestmark = [pytest.mark.slow, pytest.mark.compiler]


@pytest.mark.parametrize(
    ("tile", "chip", "dtype", "values"),
    [
        pytest.param(tile, chip, dtype, values, id=f"{name_of(tile)} {chip.name} {dtype} {values}")
        for tile, chip, dtype, values in (
            (HALF[0], SM_90, FP16, MEMORY),
            (HALF[5], SM_100, BF16, MEMORY),
            (HALF_WIDE[1], SM_90, BF16, WIDTH),
            (HALF_WIDE[-1], SM_89, BF16, WIDTH),
        )
    ],
)
def test_a_half_tile_fits_and_uses_matrix_units_and_copies_that_do_not_wait(
    tile: Config, chip: Chip, dtype: torch.dtype, values: int
) -> None:
    found = compiled(tile, chip, dtype, width=WIDTH, value_width=values)
    assert found.shared_bytes <= chip.shared_bytes
    assert found.stack_bytes <= SPILLED_OUTSIDE_THE_LOOP
    assert found.products > 0
    assert found.copies > 0


@pytest.mark.parametrize(
    ("tile", "chip", "kv"),
    [(HALF[5], SM_80, "int8"), (HALF[0], SM_89, "fp8"), (HALF[1], SM_90, "fp8"), (HALF[1], SM_100, "int8")],
    ids=["sm_80", "sm_89", "sm_90", "sm_100"],
)
def test_keys_in_8_bits_go_to_matrix_units(tile: Config, chip: Chip, kv: KV) -> None:
    found = compiled(tile, chip, BF16, width=WIDTH, value_width=MEMORY, kv=kv)
    assert found.shared_bytes <= chip.shared_bytes
    assert found.stack_bytes <= SPILLED_OUTSIDE_THE_LOOP
    assert found.products > 0
    assert found.copies > 0


@pytest.mark.parametrize(
    ("split", "kv"),
    [(False, "own"), (True, "own"), (True, "int8")],
    ids=["keys in one part", "keys in parts", "keys in parts and 8 bits"],
)
def test_the_specialised_tile_has_warps_that_copy_and_two_groups_of_four_that_compute(split: bool, kv: KV) -> None:
    (tile,) = HALF_SPECIALISED
    found = compiled(tile, SM_90, BF16, width=WIDTH, value_width=MEMORY, split=split, kv=kv)
    assert tile.num_warps == 4
    assert found.warps == 12
    assert found.copies == found.bulk_copies > 0
    assert found.products > 0
    assert found.stack_bytes == 0
    assert found.shared_bytes <= SM_90.shared_bytes


@pytest.mark.parametrize("values", [MEMORY, WIDTH])
def test_the_kernel_that_merges_parts_spills_nothing(values: int) -> None:
    found = compiled_merge(SM_80, BF16, width=WIDTH, value_width=values)
    assert found.products > 0
    assert found.stack_bytes == 0
    assert found.shared_bytes <= SM_89.shared_bytes


@pytest.mark.parametrize(("tile", "chip"), [(SINGLE_TF32[0], SM_90), (SINGLE_TF32[1], SM_80)], ids=["sm_90", "sm_80"])
def test_fp32_in_three_products_of_tf32_uses_matrix_units(tile: Config, chip: Chip) -> None:
    found = compiled(tile, chip, FP32, width=WIDTH, value_width=MEMORY)
    assert found.products > 0
    assert found.stack_bytes <= SPILLED_OUTSIDE_THE_LOOP
    assert found.shared_bytes <= chip.shared_bytes


@pytest.mark.parametrize("tile", SINGLE, ids=name_of)
def test_fp32_in_one_product_is_computed_without_matrix_units(tile: Config) -> None:
    """They would round to TF32, and on sm_100 larger tiles are given to them."""
    found = compiled(tile, SM_100, FP32, width=WIDTH, value_width=MEMORY)
    assert found.shared_bytes <= SM_89.shared_bytes
    assert found.stack_bytes == 0
    assert found.products == 0


def test_a_tile_whose_sums_and_scores_do_not_fit_into_registers_is_seen_to_spill() -> None:
    """It is the reason for tiles of their own under values of 256."""
    assert compiled(HALF[4], SM_90, BF16, width=WIDTH, value_width=WIDTH).stack_bytes > 100
