"""The vision encoder's options: without any it is the model's own to the bit, with them the same up to rounding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from strategies import Sam2, VisionFeatures
from strategies.components.encoder import Encoder
from tests.support.models import Pictures
from tests.support.tensors import RELATIVE, difference


class Traced:
    """What stands in for the compiler: runs what it is given as it is, and notes the shape and layout of every call."""

    def __init__(self) -> None:
        self.calls: list[tuple[tuple[int, ...], bool]] = []

    def __call__(self, function: Callable[[Tensor], VisionFeatures], **_: Any) -> Callable[[Tensor], VisionFeatures]:
        def call(pixels: Tensor) -> VisionFeatures:
            self.calls.append((tuple(pixels.shape), pixels.is_contiguous()))
            return function(pixels)

        return call

    @property
    def batches(self) -> list[int]:
        return [shape[0] for shape, _ in self.calls]


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Traced:
    traced = Traced()
    monkeypatch.setattr("strategies.components.encoder.compiled", traced)
    return traced


@pytest.mark.parametrize("count", [1, 3, 5])
def test_without_options_it_is_the_models_own_to_the_bit(model: Sam2, pictures: Pictures, count: int) -> None:
    pixels = pictures.pixels[:count]
    expected = model.encode_pixels(pixels)
    encoder = Encoder(model, batch=2)
    assert encoder.plain
    found = encoder(pixels)
    assert all(torch.equal(getattr(found, name), level) for name, level in vars(expected).items())


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("count", [1, 4, 6])
def test_whatever_the_options_features_are_the_models_in_their_order(
    model: Sam2, pictures: Pictures, traced: Traced, compile: bool, channels_last: bool, count: int
) -> None:
    pixels = pictures.pixels[:count]
    before = pixels.clone()
    encoder = Encoder(model, batch=4, compile=compile, channels_last=channels_last)
    assert encoder.plain == (not compile and not channels_last)
    assert difference(encoder(pixels), model.encode_pixels(pixels)) < RELATIVE
    assert torch.equal(pixels, before)


def test_what_is_compiled_is_given_one_shape_only(model: Sam2, pictures: Pictures, traced: Traced) -> None:
    encoder = Encoder(model, batch=4, compile=True)
    for count in (4, 1, 6, 3):
        encoder(pictures.pixels[:count])
    assert traced.batches == [4] * 5, "six frames are two batches"


def test_where_memory_is_short_batches_become_smaller_and_stay_so(
    model: Sam2, pictures: Pictures, traced: Traced
) -> None:
    encoder = Encoder(model, batch=4, compile=True)
    encoder.smaller(2)
    encoder.smaller(3)
    found = encoder(pictures.pixels[:4])
    assert traced.batches == [2, 2]
    assert difference(found, model.encode_pixels(pictures.pixels[:4])) < RELATIVE


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_last_is_how_pixels_lie_in_memory(
    model: Sam2, pictures: Pictures, traced: Traced, channels_last: bool
) -> None:
    Encoder(model, batch=2, compile=True, channels_last=channels_last)(pictures.pixels[:2])
    ((_, contiguous),) = traced.calls
    assert contiguous == (not channels_last)


@pytest.mark.parametrize("compile", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_it_computes_in_the_models_dtype(
    model: Sam2, pictures: Pictures, traced: Traced, monkeypatch: pytest.MonkeyPatch, compile: bool, channels_last: bool
) -> None:
    """The network itself is left out, because some processors do not bear bf16."""
    reduced = Sam2(model.network, name="toy", dtype="bf16")
    kinds: list[tuple[bool, torch.dtype, bool]] = []

    def noted(pixels: Tensor) -> VisionFeatures:
        kinds.append(
            (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"), torch.is_inference_mode_enabled())
        )
        return pictures.targets[: len(pixels)]

    monkeypatch.setattr(reduced, "vision_features", noted)
    Encoder(reduced, batch=2, compile=compile, channels_last=channels_last)(pictures.pixels[:2])
    assert kinds == [(True, torch.bfloat16, True)]
