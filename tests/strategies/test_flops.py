"""FLOPs of the prediction stage: the count from dimensions equals what torch counts of the operations that run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import Sam2VideoModel

from strategies import Direct, Rebuild, References, Sam2, Sequential, Strategy, VisionFeatures, load_model
from strategies.components.flops import memory_tokens, per_pair_flops, session_flops, shared_bank_flops
from strategies.components.memory_bank import build_memory_bank
from strategies.direct import BANKS
from strategies.models.sam2 import sam2_dimensions
from strategies.models.sam2_family import HIERA, NAMES, model_config
from tests.support.models import (
    MOST_REFERENCES,
    TOKENS,
    TWINS,
    Pictures,
    copied,
    draw_pictures,
    every_family,
    group,
    lively,
    lively_model,
)

pytestmark = pytest.mark.slow

MakeStrategy = Callable[[Sam2], Strategy]

STRATEGIES: dict[str, MakeStrategy] = {
    "sequential": Sequential,
    **{f"direct bank={bank}": partial(Direct, bank=bank) for bank in BANKS},
}
every_strategy = pytest.mark.parametrize("make", STRATEGIES.values(), ids=STRATEGIES.keys())
every_size = pytest.mark.parametrize("size", HIERA)

PUBLISHED = {1: 189.5, 3: 329.2, 7: 608.6}
"""GFLOPs of a session for one (target, object) at 1024 px, by references (DESIGN section 2)."""


def counted_by_torch(strategy: Strategy, targets: VisionFeatures) -> int:
    # torch's counter does not know the CPU's fused attention; in the MATH backend it is two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        strategy.predict(targets)
    return int(counter.get_total_flops())


def all_present(model: Sam2, pictures: Pictures, *, references: int, objects: int) -> References:
    return group(model, pictures, frames=range(references), present=[[True] * objects] * references)


# --- exactly what torch counts -------------------------------------------------------------------------------------


@every_strategy
@settings(deadline=None, derandomize=True, max_examples=4)
@given(references=st.integers(1, 3), objects=st.integers(1, 3), batch=st.integers(1, 3))
def test_the_count_is_torchs(
    model: Sam2, pictures: Pictures, make: MakeStrategy, references: int, objects: int, batch: int
) -> None:
    with make(model) as strategy:
        strategy.prepare(all_present(model, pictures, references=references, objects=objects))
        assert strategy.flops(batch) == counted_by_torch(strategy, pictures.targets[:batch])


@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize(("objects", "pairs_at_once"), [(1, 1), (3, 1), (3, 2), (2, 5), (3, 3)])
def test_the_count_is_torchs_however_the_batch_is_cut_into_chunks(
    model: Sam2, pictures: Pictures, bank: str, objects: int, pairs_at_once: int
) -> None:
    with Direct(model, bank=bank, chunk_tokens=pairs_at_once * TOKENS) as strategy:
        strategy.prepare(all_present(model, pictures, references=2, objects=objects))
        assert strategy.flops(3) == counted_by_torch(strategy, pictures.targets[:3])


@pytest.mark.parametrize(
    "options",
    [{"memory": "topk_frames:1"}, {"memory": "topk_tokens:20"}, {"memory": "pooled:2"}, {"kv": "int8"}, {"layers": 1}],
    ids=str,
)
def test_the_count_over_a_memory_that_is_read_cheaper_is_torchs(
    model: Sam2, pictures: Pictures, options: dict[str, Any]
) -> None:
    with Direct(model, chunk_tokens=4 * TOKENS, **options) as strategy:
        strategy.prepare(all_present(model, pictures, references=3, objects=2))
        assert strategy.flops(3) == counted_by_torch(strategy, pictures.targets[:3])


@every_strategy
@pytest.mark.parametrize("references", [1, 2, 3, 10])
def test_the_count_is_torchs_with_more_references_than_a_session_conditions_on(
    model: Sam2, pictures: Pictures, make: MakeStrategy, references: int
) -> None:
    closest_two = copied(model)
    closest_two.network.config.max_cond_frame_num = 2
    with make(closest_two) as strategy:
        strategy.prepare(all_present(closest_two, pictures, references=references, objects=1))
        assert strategy.flops(1) == counted_by_torch(strategy, pictures.targets[:1])


@pytest.fixture(scope="module")
def others() -> dict[str, tuple[Sam2, Pictures]]:
    """Networks that the count must be right for too, with pictures that they have encoded."""
    networks = {"shipped toy": load_model("toy"), "sam2 before 2.1": lively_model(version="sam2")}
    networks |= {name: lively(name) for name in TWINS}
    return {name: (network, draw_pictures(network)) for name, network in networks.items()}


@every_strategy
@pytest.mark.parametrize("name", ["shipped toy", "sam2 before 2.1", *TWINS])
def test_the_count_of_other_networks_is_torchs(
    others: dict[str, tuple[Sam2, Pictures]], make: MakeStrategy, name: str
) -> None:
    network, pictures = others[name]
    with make(network) as strategy:
        strategy.prepare(all_present(network, pictures, references=2, objects=2))
        assert strategy.flops(2) == counted_by_torch(strategy, pictures.targets[:2])


@pytest.mark.slow
def test_the_count_at_the_published_size_is_torchs() -> None:
    model = Sam2(Sam2VideoModel(model_config("sam2.1_hiera_tiny")).eval(), name="sam2.1_hiera_tiny")
    references, objects, batch = 1, 2, 1
    with FakeTensorMode(allow_non_fake_inputs=True):  # shapes alone: nothing is computed
        labelled = References(
            features=empty_features(references),
            masks=torch.empty(references, objects, 1024, 1024, dtype=torch.bool),
            object_ids=(1, 2),
        )
        for name in ("sequential", "direct bank=repeat", "direct bank=shared"):  # `expand` counts as `repeat` does.
            with STRATEGIES[name](model) as strategy:
                strategy.prepare(labelled)
                assert strategy.flops(batch) == counted_by_torch(strategy, empty_features(batch))


def empty_features(count: int) -> VisionFeatures:
    return VisionFeatures(
        embedding=torch.empty(count, 256, 64, 64),
        stride4=torch.empty(count, 32, 256, 256),
        stride8=torch.empty(count, 64, 128, 128),
    )


# --- what the numbers are ------------------------------------------------------------------------------------------


@every_size
@pytest.mark.parametrize("references", PUBLISHED)
def test_a_session_of_a_published_model_has_the_designs_count(size: str, references: int) -> None:
    work = session_flops(sam2_dimensions(model_config(f"sam2.1_hiera_{size}")), references)
    assert work.per_target == 0
    assert round(work.per_pair / 1e9, 1) == PUBLISHED[references]


@every_family
@pytest.mark.parametrize(
    ("limit", "references"), [*((-1, count) for count in (1, 7, MOST_REFERENCES)), (2, 2), (2, 7), (9, MOST_REFERENCES)]
)
def test_the_bank_has_as_many_tokens_as_are_counted(
    model: Sam2, pictures: Pictures, references: int, limit: int
) -> None:
    limited = copied(model)
    limited.network.config.max_cond_frame_num = limit
    with limited.computing():
        bank = build_memory_bank(limited, all_present(limited, pictures, references=references, objects=1))
    assert memory_tokens(limited.dimensions, references) == bank.memory.shape[1]


@settings(deadline=None, derandomize=True, max_examples=30)
@given(
    name=st.sampled_from(NAMES),
    references=st.integers(1, 16),
    objects=st.integers(1, 64),
)
def test_each_way_to_predict_saves_over_the_one_before(name: str, references: int, objects: int) -> None:
    dimensions = sam2_dimensions(model_config(name))
    session, per_pair, shared = (
        work.per_target + objects * work.per_pair
        for work in (each(dimensions, references) for each in (session_flops, per_pair_flops, shared_bank_flops))
    )
    assert session > per_pair > shared


# --- as a strategy says it -----------------------------------------------------------------------------------------


@every_strategy
def test_a_batch_counts_as_many_times_as_it_has_targets(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    with make(model) as strategy:
        strategy.prepare(all_present(model, pictures, references=2, objects=3))
        assert strategy.flops(0) == 0
        assert strategy.flops(10_000) == 10_000 * strategy.flops(1)


@every_strategy
def test_a_count_needs_a_prepared_group(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    strategy = make(model)
    with pytest.raises(RuntimeError, match="prepare a group"):
        strategy.flops(1)
    strategy.prepare(all_present(model, pictures, references=1, objects=1))
    strategy.release()
    with pytest.raises(RuntimeError, match="prepare a group"):
        strategy.flops(1)


def test_the_count_is_of_the_group_that_was_prepared_last(model: Sam2, pictures: Pictures) -> None:
    small, large = (all_present(model, pictures, references=count, objects=count) for count in (1, 3))
    with Direct(model) as strategy, Direct(model) as other:
        strategy.prepare(large)
        strategy.prepare(small)
        other.prepare(small)
        assert strategy.flops(2) == other.flops(2)


def test_rebuild_counts_what_sequential_counts(model: Sam2, pictures: Pictures) -> None:
    references = all_present(model, pictures, references=2, objects=1)
    with Rebuild(model) as rebuild, Sequential(model) as sequential:
        rebuild.prepare(references)
        sequential.prepare(references)
        assert rebuild.flops(1) == sequential.flops(1) < counted_by_torch(rebuild, pictures.targets[:1])
