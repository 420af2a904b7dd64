"""How many pairs go through the network at once where nobody says it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from strategies import Direct, Sam2, Sequential
from strategies.components.chunks import (
    MOST_VALUES,
    SHARE_OF_ALL,
    SHARE_OF_FREE,
    bytes_per_pair,
    pairs_on,
    pairs_that_fit,
)
from strategies.models.dimensions import Dimensions
from tests.support.models import TOKENS, Pictures, group

CUDA = torch.device("cuda", 0)
GIGABYTE = 2**30


@pytest.fixture(scope="session")
def large(model: Sam2) -> Dimensions:
    """The tokens and widths of a published network, at 1024 px."""
    small = model.dimensions
    attention = replace(small.memory_attention, hidden=256, width=256, feed_forward=2048)
    return replace(
        small, hidden=256, image_tokens=4096, memory_tokens=4096, memory_width=64, memory_attention=attention
    )


@given(memory=st.floats(0, 1e13), copied=st.integers(0, 100_000))
def test_a_chunk_fits_or_is_a_single_pair(large: Dimensions, memory: float, copied: int) -> None:
    pairs = pairs_that_fit(large, memory, copied_tokens=copied)
    assert pairs == 1 or pairs * bytes_per_pair(large, copied_tokens=copied) <= memory
    assert pairs & (pairs - 1) == 0, "a power of two, so that a little more or less memory changes nothing"
    assert pairs * large.image_tokens * large.memory_attention.feed_forward < MOST_VALUES


@given(memory=st.floats(0, 1e12), more=st.floats(1, 100))
def test_more_memory_is_never_a_smaller_chunk(large: Dimensions, memory: float, more: float) -> None:
    assert pairs_that_fit(large, memory, copied_tokens=0) <= pairs_that_fit(large, memory * more, copied_tokens=0)


def test_copies_of_the_bank_make_a_chunk_smaller(large: Dimensions) -> None:
    copied = 3 * (large.memory_tokens + large.pointer_tokens)
    assert pairs_that_fit(large, 20e9, copied_tokens=copied) < pairs_that_fit(large, 20e9, copied_tokens=0)


def test_a_large_gpu_takes_a_batch_of_32_with_four_objects_at_once(
    large: Dimensions, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _on_gpu(large, monkeypatch, total=80, free=78) >= 4 * 32


def test_what_others_use_of_a_gpu_decides_only_where_little_is_left(
    large: Dimensions, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = _on_gpu(large, monkeypatch, total=80, free=80)
    assert _on_gpu(large, monkeypatch, total=80, free=1.01 * 80 * SHARE_OF_ALL / SHARE_OF_FREE) == alone
    assert _on_gpu(large, monkeypatch, total=80, free=4) < alone


def test_memory_that_torch_keeps_counts_as_free(large: Dimensions, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _on_gpu(large, monkeypatch, total=80, free=4, kept=70) == _on_gpu(large, monkeypatch, total=80, free=74)


def _on_gpu(large: Dimensions, patch: pytest.MonkeyPatch, *, total: float, free: float, kept: float = 0) -> int:
    patch.setattr(torch.cuda, "mem_get_info", lambda _: (int(free * GIGABYTE), int(total * GIGABYTE)))
    patch.setattr(torch.cuda, "memory_reserved", lambda _: int((kept + 1) * GIGABYTE))
    patch.setattr(torch.cuda, "memory_allocated", lambda _: GIGABYTE)
    return pairs_on(CUDA, large, copied_tokens=0)


def test_on_a_cpu_a_chunk_has_sixteen_pairs_at_1024_px(large: Dimensions) -> None:
    assert pairs_on(torch.device("cpu"), large, copied_tokens=0) == 16


def test_direct_tells_its_chunks_and_sequential_has_none(model: Sam2, pictures: Pictures) -> None:
    for tokens, pairs in ((None, pairs_on(model.device, model.dimensions, copied_tokens=0)), (3 * TOKENS, 3)):
        with Direct(model, chunk_tokens=tokens) as direct:
            direct.prepare(group(model, pictures, frames=(0, 1), present=[[True], [True]], object_ids=(1,)))
            assert direct.pairs_at_once == pairs
    assert Sequential(model).pairs_at_once is None
