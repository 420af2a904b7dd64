"""The choice of a kernel's plan, with a tuner that measures by a rule instead of on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from strategies.components.quantised import BITS_8, KV
from strategies.kernels import launch, tuning
from strategies.kernels.attention import attend
from strategies.kernels.attention_kernel import attention
from strategies.kernels.tiles import HALF, HALF_SPECIALISED, SINGLE, SINGLE_TF32
from strategies.kernels.tuning import LEAST_KEYS, MOST_PARTS, TUNING_QUERIES, parts_for

PROCESSORS = 132
TOKENS, WIDTH = 64, 32
ENOUGH = 16 * TOKENS * PROCESSORS
"""Queries that leave no processor idle."""


class Launches:
    """Stands for kernels: notes the tile, the number of queries and of parts of each launch of attention."""

    def __init__(self) -> None:
        self.noted: list[tuple[int, int, int]] = []

    def __getitem__(self, grid: Any) -> Callable[..., None]:
        return lambda *arguments, **options: self.run(*arguments, grid=grid, warmup=False, **options)

    def run(self, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        named = dict(zip(attention.arg_names, arguments, strict=False))
        self.noted.append((options["block_q"], named["queries"], named["parts"]))


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    """Tiles of 64 queries win where larger ones leave processors idle, the larger ones everywhere else."""
    tuner = tuning.tuned((HALF[0], HALF[4]))
    noted = Launches()

    def measured(*arguments: Any, config: Any, **_: Any) -> list[float]:
        named = dict(zip(attention.arg_names, arguments, strict=False))
        tile = config.kwargs["block_q"]
        programs = named["queries"] / tile
        return [tile / 64 if programs < PROCESSORS else 64 / tile] * 3

    monkeypatch.setattr(tuner, "cache_results", False)  # the disk's
    monkeypatch.setattr(tuner, "_bench", measured)
    monkeypatch.setattr(tuner, "fn", noted)
    monkeypatch.setattr(tuner, "base_fn", SimpleNamespace(__name__="attention"))
    monkeypatch.setattr(tuning, "tuner", lambda *_, **__: tuner)
    monkeypatch.setattr(tuning, "_processors", lambda device: PROCESSORS)
    monkeypatch.setattr(launch, "attention", noted)
    monkeypatch.setattr(launch, "merge_parts", lambda *_, **__: None)
    yield noted
    tuning._fastest.cache_clear()


def attend_to(*, queries: int, keys: int = 40) -> None:
    drawn = torch.zeros(1, queries, WIDTH, dtype=torch.bfloat16)
    angles = torch.zeros(TOKENS, WIDTH // 2)
    bank = torch.zeros(1, keys, WIDTH, dtype=torch.bfloat16)
    weight = torch.zeros(WIDTH, WIDTH, dtype=torch.bfloat16)
    residual = torch.zeros(1, queries, WIDTH)
    attend(drawn, angles, angles, bank, bank, weight, torch.zeros(WIDTH), residual, scale=1.0)


@pytest.mark.parametrize("sweep", [(1, 32), (32, 1)])
def test_the_tile_does_not_depend_on_the_order_of_a_sweep(launches: Launches, sweep: tuple[int, int]) -> None:
    for targets in sweep:
        attend_to(queries=targets * TOKENS)
    tiles = {queries: tile for tile, queries, _ in launches.noted}
    assert set(tiles.values()) == {128}
    assert set(tiles) == {TUNING_QUERIES, *(targets * TOKENS for targets in sweep)}


def test_a_tile_is_measured_once_for_each_power_of_two_of_keys(launches: Launches) -> None:
    for keys in (40, 64, 33, 65):
        attend_to(queries=TOKENS, keys=keys)
    assert [queries for _, queries, _ in launches.noted].count(TUNING_QUERIES) == 2


def test_a_kernel_with_one_tile_is_not_measured(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning.tuner(2), "configs", [HALF[0]])
    attend_to(queries=TOKENS)
    assert [queries for _, queries, _ in launches.noted] == [TOKENS]


def test_a_tile_that_triton_fails_to_compile_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "driver", SimpleNamespace(active=SimpleNamespace(get_benchmarker=lambda: benchmarked)))
    tuner = tuning.tuned((HALF[0], HALF[4]))

    def benchmarked(call: Callable[[], None], quantiles: Any) -> list[float]:
        call()
        return [1.0, 1.0, 1.0]

    def fails(error: Exception) -> Callable[[], None]:
        def call() -> None:
            raise error

        return call

    worst = tuner.do_bench(fails(RuntimeError("PassManager::run failed")), quantiles=(0.5, 0.2, 0.8))
    assert min(worst) > max(tuner.do_bench(lambda: None, quantiles=(0.5, 0.2, 0.8)))
    with pytest.raises(RuntimeError, match="out of memory"):
        tuner.do_bench(fails(RuntimeError("out of memory")), quantiles=(0.5, 0.2, 0.8))


# --- keys in parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("programs", "keys", "parts"),
    [
        (32, 12_300, 4),  # one target of 4096 tokens on an H100
        (64, 12_300, 2),
        (67, 12_300, 1),
        (256, 12_300, 1),
        (32, 3 * LEAST_KEYS, 2),
        (32, LEAST_KEYS, 1),
        (1, 100 * LEAST_KEYS, MOST_PARTS),
    ],
)
def test_keys_are_split_where_a_small_grid_leaves_processors_idle(programs: int, keys: int, parts: int) -> None:
    assert parts_for(programs=programs, keys=keys, processors=PROCESSORS) == parts


def test_a_small_grid_has_a_tile_that_was_measured_on_a_small_grid(launches: Launches) -> None:
    attend_to(queries=32 * 128, keys=12_300)
    (tile_when_measured, queries, parts), (tile, _, _) = launches.noted
    assert (tile, parts) == (tile_when_measured, 4) == (64, 4)
    assert queries / 128 * parts <= PROCESSORS


def test_splitting_one_batch_changes_no_tile_of_another(launches: Launches) -> None:
    for queries in (32 * 128, ENOUGH, 32 * 128):
        attend_to(queries=queries, keys=12_300)
    tiles = {(queries, parts): tile for tile, queries, parts in launches.noted}
    assert tiles[32 * 128, 4] == 64
    assert tiles[ENOUGH, 1] == 128


# --- tiles that are offered ----------------------------------------------------------------------------------------


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., set[Any]]:
    """The tiles that the tuner sees for operands with a device's capability."""

    def tiles(capability: tuple[int, int], dtype: torch.dtype, *, offset: int = 0, kv: KV = "own") -> set[Any]:
        monkeypatch.setattr(tuning, "INTERPRETED", False)
        monkeypatch.setattr(tuning, "_capability", lambda device: capability)
        keys = torch.zeros(64 * WIDTH + offset, dtype=BITS_8.get(kv, dtype))[offset:].view(1, 64, WIDTH)
        drawn = {name: torch.zeros(1, 64, WIDTH, dtype=dtype) for name in ("query", "values", "residual")}
        rest = {name: torch.zeros(WIDTH, WIDTH) for name in ("cos", "sin", "weight", "bias")}
        tuning.tuner.cache_clear()
        return set(tuning.tuner_for(launch.Operands(keys=keys, scale=1.0, **drawn, **rest)).configs)

    return tiles


TURING, AMPERE, HOPPER, BLACKWELL, GEFORCE_50 = (7, 5), (8, 0), (9, 0), (10, 0), (12, 0)
BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def test_a_specialised_tile_is_offered_where_triton_has_it_and_tma_takes_the_keys(
    offered: Callable[..., set[Any]],
) -> None:
    for dtype in (BF16, FP16):
        assert offered(HOPPER, dtype) == offered(BLACKWELL, dtype) == {*HALF, *HALF_SPECIALISED}
        assert offered(AMPERE, dtype) == offered(GEFORCE_50, dtype) == set(HALF)
        assert offered(HOPPER, dtype, offset=1) == set(HALF), "TMA takes no address that is not aligned to 16 bytes"


def test_8_bits_have_a_specialised_tile_where_it_does_not_spill(offered: Callable[..., set[Any]]) -> None:
    for kv in ("int8", "fp8"):
        assert offered(HOPPER, BF16, kv=kv) == {*HALF, *HALF_SPECIALISED}
        assert offered(BLACKWELL, BF16, kv=kv) == set(HALF)


def test_matrix_units_are_offered_to_fp32_where_they_take_tf32(offered: Callable[..., set[Any]]) -> None:
    assert offered(AMPERE, FP32) == offered(HOPPER, FP32) == {*SINGLE, *SINGLE_TF32}
    assert offered(TURING, FP32) == set(SINGLE)
