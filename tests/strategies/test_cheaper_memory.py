"""What each way to read less of memory does, and that it does nothing where there is nothing to leave out.

Streams and `direct` read their memory by the same code.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from strategies import Direct, References, Sam2, UserError
from strategies.components.cheaper_memory import cheaper, quantised, reading_of
from strategies.components.memory_attention import SharedBank
from strategies.components.quantised import KV
from strategies.models.dimensions import Dimensions
from strategies.streams.batched import StreamBatched
from tests.support.models import (
    SAM2_TOY,
    TOKENS,
    TWINS,
    Pictures,
    assert_same_masks,
    every_family,
    group,
    lively,
    masks_of,
    score_error,
)
from tests.support.pictures import assert_one_sentence
from tests.support.streams import SAME, Clip, drift, played, seen_often

CLIP = Clip(name="a", frames=12, labels=((0, (1, 2)),), seed=9)
MEMORIES, POINTERS = 3, 5
"""Of drawn banks."""


# --- one bank ------------------------------------------------------------------------------------------------------


def drawn(dimensions: Dimensions, *, objects: int = 2, heads: int = 1) -> tuple[Tensor, SharedBank]:
    """Queries ``[O, heads, L, d]`` and a bank of one layer."""
    generator = torch.Generator().manual_seed(0)
    tokens, width = MEMORIES * dimensions.memory_tokens + POINTERS, dimensions.memory_attention.head_width
    query = torch.randn(objects, heads, dimensions.image_tokens, width, generator=generator)
    key, value = torch.randn(2, objects, heads, tokens, width, generator=generator)
    return query, SharedBank(keys=(key,), values=(value,))


def attended(query: Tensor, bank: SharedBank) -> Tensor:
    key, value, bias = bank.keys[0], bank.values[0], bank.bias
    if bank.read is not None:
        key, value, bias = bank.read(query, key, value, bias)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


def read_as(option: str, bank: SharedBank, dimensions: Dimensions) -> SharedBank:
    return cheaper(bank, reading_of(option, dimensions), dimensions, pointer_tokens=POINTERS)


@pytest.mark.parametrize("side", [2, 4])
def test_pooling_changes_nothing_where_all_keys_of_a_square_are_the_same(model: Sam2, side: int) -> None:
    dimensions = model.dimensions
    query, bank = drawn(dimensions)
    across, split = round(dimensions.image_tokens**0.5), MEMORIES * dimensions.memory_tokens
    grid = bank.keys[0][..., :split, :].unflatten(-2, (MEMORIES, across // side, side, across // side, side))
    constant = grid[..., :1, :, :1, :].expand_as(grid).flatten(-6, -2)
    bank = replace(bank, keys=(torch.cat([constant, bank.keys[0][..., split:, :]], dim=-2),))
    pooled = read_as(f"pooled:{side}", bank, dimensions)
    assert pooled.keys[0].shape[-2] == split // side**2 + POINTERS
    torch.testing.assert_close(attended(query, pooled), attended(query, bank), rtol=1e-5, atol=1e-6)


def test_pooling_keeps_what_is_masked_masked(model: Sam2) -> None:
    dimensions = model.dimensions
    query, bank = drawn(dimensions)
    bias = torch.zeros(2, 1, 1, bank.keys[0].shape[-2])
    bias[1, ..., : dimensions.memory_tokens] = float("-inf")
    without = SharedBank(
        keys=(bank.keys[0][..., dimensions.memory_tokens :, :],),
        values=(bank.values[0][..., dimensions.memory_tokens :, :],),
    )
    masked, absent = (
        attended(query, read_as("pooled:2", each, dimensions)) for each in (replace(bank, bias=bias), without)
    )
    torch.testing.assert_close(masked[1], absent[1])


@pytest.mark.parametrize(("option", "groups"), [("topk_tokens:7", 1), ("topk_frames:2", None)])
def test_the_best_are_those_most_alike_the_mean_query(model: Sam2, option: str, groups: int | None) -> None:
    """Counted out for each object in turn."""
    dimensions = model.dimensions
    size, count = groups or dimensions.memory_tokens, int(option.partition(":")[2])
    query, bank = drawn(dimensions)
    found = attended(query, read_as(option, bank, dimensions))
    split = MEMORIES * dimensions.memory_tokens
    for each in range(2):
        alike = bank.keys[0][each, 0, :split] @ query[each, 0].mean(dim=0)
        best = sorted(range(split // size), key=lambda group: -float(alike[group * size :][:size].mean()))[:count]
        kept = [group * size + token for group in sorted(best) for token in range(size)]
        kept += range(split, split + POINTERS)
        key, value = (part[0][each, :, kept] for part in (bank.keys, bank.values))
        torch.testing.assert_close(found[each], F.scaled_dot_product_attention(query[each], key, value))


def test_each_pair_of_a_batch_reads_what_is_best_for_itself(model: Sam2) -> None:
    dimensions = model.dimensions
    _, bank = drawn(dimensions)
    _, keys = drawn(dimensions, objects=6)
    queries = keys.keys[0][..., : dimensions.image_tokens, :]  # of 2 objects in 3 targets
    together = attended(queries, read_as("topk_tokens:5", bank, dimensions))
    for pair, query in enumerate(queries):
        own = replace(bank, keys=(bank.keys[0][pair // 3, None],), values=(bank.values[0][pair // 3, None],))
        torch.testing.assert_close(
            together[pair, None], attended(query[None], read_as("topk_tokens:5", own, dimensions))
        )


@pytest.mark.parametrize(("kv", "error"), [("int8", 0.5 / 127), ("fp8", 2.0**-4)])
def test_each_token_is_rounded_by_a_scale_of_its_own(model: Sam2, kv: KV, error: float) -> None:
    _, bank = drawn(model.dimensions)
    uneven = replace(bank, keys=(bank.keys[0] * torch.logspace(-6, 6, bank.keys[0].shape[-2])[:, None],))
    rounded = quantised(uneven, kv)
    for before, after in ((uneven.keys[0], rounded.keys[0]), (bank.values[0], rounded.values[0])):
        largest = before.abs().amax(dim=-1, keepdim=True)
        assert float(((after - before).abs() / largest).max()) <= 1.001 * error
        assert not torch.equal(after, before)
    zeros = quantised(SharedBank(keys=(torch.zeros(1, 1, 2, 4),), values=(torch.zeros(1, 1, 2, 4),)), kv)
    assert not zeros.keys[0].any()


# --- whole streams -------------------------------------------------------------------------------------------------

NOTHING_LEFT_OUT = (
    {"memory": "last:6"},
    {"memory": "topk_frames:7"},
    {"memory": "topk_tokens:100000"},
    {"memory": "decay:0"},
    {"layers": 2},
)
CHEAPER = (
    {"memory": "last:2"},
    {"memory": "topk_frames:2"},
    {"memory": "topk_tokens:20"},
    {"memory": "pooled:2"},
    {"memory": "decay:0.5"},
    {"kv": "int8"},
    {"kv": "fp8"},
    {"layers": 1},
)


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("options", NOTHING_LEFT_OUT, ids=str)
def test_where_nothing_is_left_out_masks_are_those_of_the_exact_way(
    model: Sam2, pictures: Pictures, options: dict[str, str | int]
) -> None:
    found, exact = (played(StreamBatched(model, **each), [CLIP], pictures) for each in (options, {}))  # type: ignore[arg-type]
    assert drift(found, exact).same


@pytest.mark.slow
@pytest.mark.parametrize("options", CHEAPER, ids=str)
def test_what_is_cheaper_says_so_and_gives_other_masks(
    model: Sam2, pictures: Pictures, options: dict[str, str | int]
) -> None:
    strategy = StreamBatched(model, **options)  # type: ignore[arg-type]
    assert not strategy.exact
    found, exact = (played(each, [CLIP], pictures) for each in (strategy, StreamBatched(model)))
    assert all(predictions.logits.isfinite().all() for predictions in found.values())
    apart = drift(found, exact)
    assert apart.different or ("kv" in options and apart.worst > 0.001)


@pytest.mark.slow
def test_objects_that_appear_later_are_read_cheaper_too(model: Sam2, pictures: Pictures) -> None:
    """Their missing memories are masked, in a batch with full ones, and never read."""
    clip = seen_often(model, pictures, Clip(name="a", frames=9, labels=((0, (1,)), (6, (2,)))))
    for memory in ("pooled:2", "topk_tokens:40", "topk_frames:3", "decay:0.2", "last:3"):
        together = played(StreamBatched(model, memory=memory), [clip], pictures)
        apart = played(StreamBatched(model, memory=memory, objects=1), [clip], pictures)
        for key, one in together.items():
            torch.testing.assert_close(one.object_scores, apart[key].object_scores, rtol=0, atol=SAME, msg=memory)


# --- references, in `direct` ---------------------------------------------------------------------------------------

NOTHING_LEFT_OUT_OF_REFERENCES = (
    {"memory": "topk_frames:3"},
    {"memory": "topk_tokens:100000"},
    {"layers": 2},
)
CHEAPER_REFERENCES = (
    {"memory": "topk_frames:1"},
    {"memory": "topk_tokens:20"},
    {"memory": "pooled:2"},
    {"memory": "pooled:4"},
    {"kv": "int8"},
    {"kv": "fp8"},
    {"layers": 1},
)


def three(model: Sam2, pictures: Pictures) -> References:
    return group(model, pictures, frames=range(3), present=[[True, True]] * 3)


@every_family
@pytest.mark.parametrize("options", NOTHING_LEFT_OUT_OF_REFERENCES, ids=str)
def test_where_nothing_is_left_out_of_references_masks_are_those_of_the_exact_way(
    model: Sam2, pictures: Pictures, options: dict[str, str | int]
) -> None:
    asked, targets = three(model, pictures), pictures.targets[:5]
    cheaper_way = Direct(model, chunk_tokens=4 * TOKENS, **options)  # type: ignore[arg-type]
    assert_same_masks(masks_of(cheaper_way, asked, targets), masks_of(Direct(model), asked, targets))
    assert cheaper_way.exact == ("layers" in options), "it promises what it knows before it sees a group"


@pytest.mark.parametrize("options", CHEAPER_REFERENCES, ids=str)
def test_what_reads_less_of_references_says_so_and_gives_other_masks_in_whatever_batch(
    model: Sam2, pictures: Pictures, options: dict[str, str | int]
) -> None:
    asked, targets = three(model, pictures), pictures.targets[:4]
    strategy = Direct(model, **options)  # type: ignore[arg-type]
    assert not strategy.exact
    found, exact = (masks_of(each, asked, targets) for each in (strategy, Direct(model)))
    assert found.logits.isfinite().all()
    assert score_error(found, exact) > (1e-3 if "kv" in options else 0.02)
    assert_same_masks(masks_of(strategy, asked, targets, batch=1), found)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"memory": "last:2"}, "memory=last:2 goes by the ages of frames that were tracked"),
        ({"memory": "decay:0.5"}, "memory=decay:0.5 goes by the ages"),
        ({"memory": "pooled:2", "bank": "repeat"}, "bank=repeat leaves memory to the network's own attention"),
        ({"layers": 1, "bank": "expand"}, "bank=expand leaves memory"),
        ({"kv": "int4"}, "kv=int4 is not known"),
        ({"layers": 0}, "layers=0 must be at least 1"),
    ],
    ids=str,
)
def test_what_references_do_not_bear_is_refused_in_one_sentence(options: dict[str, str | int], words: str) -> None:
    with pytest.raises(UserError) as raised:
        Direct(lively(SAM2_TOY), **options)  # type: ignore[arg-type]
    assert_one_sentence(raised.value, words)


# --- what is no option ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option",
    [
        "fewer",
        "last",
        "last:two",
        "last:0",
        "last:1.5",
        "all:2",
        "pooled:3",
        "decay:-1",
        "decay:nan",
        "topk_tokens:inf",
    ],
)
def test_unknown_ways_to_read(option: str) -> None:
    with pytest.raises(UserError) as raised:
        StreamBatched(lively(SAM2_TOY), memory=option)
    assert_one_sentence(raised.value, option.partition(":")[0])


def test_memories_without_places_are_not_pooled() -> None:
    with pytest.raises(UserError, match="pooled:2") as raised:
        StreamBatched(lively(TWINS[1]), memory="pooled:2")
    assert_one_sentence(raised.value)


def test_an_unknown_kv(model: Sam2) -> None:
    with pytest.raises(UserError, match="kv=int4"):
        StreamBatched(model, kv="int4")  # type: ignore[arg-type]
