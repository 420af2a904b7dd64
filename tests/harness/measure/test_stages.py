"""Stages of a prediction: which are entered while it is watched, their times, and how a report shows them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.measure.stages import time_stages
from harness.options.config import TimingConfig
from strategies import Direct, MultiSession, Rebuild, References, Sam2, Sequential, Strategy
from strategies.components.stages import watched
from tests.support.harness_runs import row
from tests.support.models import Pictures, every_family, group
from tests.support.report_runs import table_cells, written_report_of

TARGETS, OBJECTS = 3, 2


@pytest.fixture
def references(model: Sam2, pictures: Pictures) -> References:
    return group(model, pictures, frames=range(2), present=[[True] * OBJECTS] * 2)


class StageNames:
    """Stages in the order in which they begin."""

    def __init__(self) -> None:
        self.names: list[str] = []

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self.names.append(name)
        yield


def stages_entered(strategy: Strategy, references: References, pictures: Pictures) -> list[str]:
    watcher = StageNames()
    with strategy:
        strategy.prepare(references)
        with watched(strategy.model, watcher):
            strategy.predict(pictures.targets[:TARGETS])
        strategy.predict(pictures.targets[:TARGETS])  # This prediction is not watched.
    return watcher.names


@every_family
def test_a_session_enters_memory_attention_and_decoder_for_every_target_and_object(
    model: Sam2, references: References, pictures: Pictures
) -> None:
    assert (
        stages_entered(Sequential(model), references, pictures)
        == ["memory_attention", "mask_decoder"] * TARGETS * OBJECTS
    )


@every_family
def test_rebuilding_encodes_the_references_again(model: Sam2, references: References, pictures: Pictures) -> None:
    names = stages_entered(Rebuild(model), references, pictures)
    of_a_target = ["vision_encoder", "memory_bank", *["memory_attention", "mask_decoder"] * OBJECTS]
    assert names == of_a_target * TARGETS


@every_family
@pytest.mark.parametrize("bank", ["shared", "expand", "repeat"])
def test_direct_enters_each_stage_once_a_chunk_whatever_it_is_made_of(
    model: Sam2, references: References, pictures: Pictures, bank: str
) -> None:
    assert stages_entered(Direct(model, bank=bank), references, pictures) == ["memory_attention", "mask_decoder"]


def test_stages_in_other_threads_are_not_watched(model: Sam2, references: References, pictures: Pictures) -> None:
    assert stages_entered(MultiSession(model, sessions=2), references, pictures) == []


def test_watching_leaves_the_network_as_it_was(model: Sam2, references: References, pictures: Pictures) -> None:
    def fail(_: str) -> Any:
        raise RuntimeError("no more")

    with Sequential(model) as strategy:
        strategy.prepare(references)
        before = strategy.predict(pictures.targets[:1])
        with pytest.raises(RuntimeError, match="no more"), watched(model, fail):
            strategy.predict(pictures.targets[:1])
        assert torch.equal(strategy.predict(pictures.targets[:1]).logits, before.logits)
    assert not [name for name, module in model.network.named_modules() if "forward" in vars(module)]


def test_times_of_stages_are_within_those_of_predictions(
    model: Sam2, references: References, pictures: Pictures
) -> None:
    ticks = count()
    pixels = torch.zeros(1, 3, model.side, model.side)
    with Sequential(model) as strategy:
        strategy.prepare(references)
        times = time_stages(
            strategy,
            pictures.targets[:TARGETS],
            pixels,
            clock=lambda: float(next(ticks)),
            options=TimingConfig(block_seconds=30),
        )
    assert times.targets == TARGETS
    assert times.encode == [1.0, 1.0, 1.0]
    calls = TARGETS * OBJECTS
    assert times.predict == [1.0 + 4 * calls] * 2, "each stage reads the clock twice; 30 s are over after two"
    assert times.calls == {name: [1.0] * calls * 2 for name in ("memory_attention", "mask_decoder")}


class Recorded(Sequential):
    static = True


def test_a_strategy_whose_code_is_recorded_is_not_watched_and_the_encoder_is_warm(
    model: Sam2, references: References, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Direct(model, compile=True).static
    seconds = iter([9.0, 1.0, 1.0, 1.0])
    now = [0.0]

    def encode(_: torch.Tensor) -> None:
        now[0] += next(seconds)

    monkeypatch.setattr(model, "encode_pixels", encode)
    with Recorded(model) as strategy:
        strategy.prepare(references)
        times = time_stages(
            strategy,
            pictures.targets[:1],
            torch.zeros(1, 3, model.side, model.side),
            clock=lambda: now[0],
            options=TimingConfig(block_seconds=9),
        )
    assert (times.encode, times.predict, times.calls) == ([1.0] * 3, [0.0] * 3, {})


STAGES = {"predict": [0.5, 0.5], "calls": {"memory_attention": [0.3, 0.3], "mask_decoder": [0.1] * 2}}


def cells_of(folder: Path, stages: Any) -> dict[str, str]:
    """Return the cells of the report's table about a point of 20 targets a second."""
    text = written_report_of(folder, [row("one", fps=20.0, encode_fps=100.0)], details={"one": {"stages": stages}})
    (cells,) = table_cells(text, "Where the time goes")
    return {name.removesuffix(" (ms)"): cell for name, cell in cells.items()}


def test_a_report_scales_the_stages_to_the_speed_measured(tmp_path: Path) -> None:
    cells = cells_of(tmp_path / "run", STAGES)
    assert (cells["predict"], cells["memory attention"], cells["mask decoder"]) == ("50.00", "30.00", "10.00")
    assert cells["rest of predict"] == "10.00"
    assert "memory attention" in (tmp_path / "run" / "stages.svg").read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize(
    "stages",
    [None, 3, {}, {"predict": [0.5], "calls": {}}, {"predict": [], "calls": {"mask_decoder": [1.0]}}, {"predict": "x"}],
    ids=str,
)
def test_without_known_stages_a_prediction_is_one_bar(tmp_path: Path, stages: Any) -> None:
    cells = cells_of(tmp_path / "run", stages)
    assert cells["predict"] == "50.00"
    assert "mask decoder" not in cells
    assert "mask decoder" not in (tmp_path / "run" / "stages.svg").read_text(encoding="utf-8")
