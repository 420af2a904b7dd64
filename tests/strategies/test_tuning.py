"""The choice of a kernel's tile, with a tuner that measures by a rule instead of on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from strategies.kernels import attention
from strategies.kernels.tiles import HALF

PROCESSORS = 132
TOKENS, WIDTH = 64, 32


class Launches:
    """Stands for the kernel of one tile: notes the tile and the number of queries of each launch."""

    def __init__(self) -> None:
        self.noted: list[tuple[int, int]] = []

    def run(self, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        queries = arguments[attention._attention.arg_names.index("queries")]
        self.noted.append((options["block_q"], queries))


@pytest.fixture
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launches]:
    """Tiles of 64 queries win where larger ones leave processors idle, the larger ones everywhere else."""
    tuner = attention.tuned((HALF[0], HALF[4]))
    noted = Launches()

    def measured(*arguments: Any, config: Any, **_: Any) -> list[float]:
        tile = config.kwargs["block_q"]
        programs = arguments[attention._attention.arg_names.index("queries")] / tile
        return [tile / 64 if programs < PROCESSORS else 64 / tile] * 3

    monkeypatch.setattr(tuner, "cache_results", False)  # the disk's
    monkeypatch.setattr(tuner, "_bench", measured)
    monkeypatch.setattr(tuner, "fn", noted)
    monkeypatch.setattr(tuner, "base_fn", SimpleNamespace(__name__="attention"))
    monkeypatch.setattr(attention, "tuner", lambda *_, **__: tuner)
    attention._tune.cache_clear()
    yield noted
    attention._tune.cache_clear()


def attend_to(*, targets: int, keys: int = 40) -> None:
    drawn = torch.zeros(1, targets * TOKENS, WIDTH, dtype=torch.bfloat16)
    angles = torch.zeros(TOKENS, WIDTH // 2)
    bank = torch.zeros(1, keys, WIDTH, dtype=torch.bfloat16)
    weight = torch.zeros(WIDTH, WIDTH, dtype=torch.bfloat16)
    residual = torch.zeros(1, targets * TOKENS, WIDTH)
    attention.attend(drawn, angles, angles, bank, bank, weight, torch.zeros(WIDTH), residual, scale=1.0)


@pytest.mark.parametrize("sweep", [(1, 32), (32, 1)])
def test_the_tile_does_not_depend_on_the_order_of_a_sweep(launches: Launches, sweep: tuple[int, int]) -> None:
    for targets in sweep:
        attend_to(targets=targets)
    tiles = {queries: tile for tile, queries in launches.noted}
    assert set(tiles.values()) == {128}
    assert set(tiles) == {attention.TUNING_QUERIES, *(targets * TOKENS for targets in sweep)}


def test_a_tile_is_measured_once_for_each_power_of_two_of_keys(launches: Launches) -> None:
    for keys in (40, 64, 33, 65):
        attend_to(targets=1, keys=keys)
    assert [queries for _, queries in launches.noted].count(attention.TUNING_QUERIES) == 2


def test_a_kernel_with_one_tile_is_not_measured(launches: Launches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention.tuner(2, wide=False), "configs", [HALF[0]])
    attend_to(targets=1)
    assert [queries for _, queries in launches.noted] == [TOKENS]
