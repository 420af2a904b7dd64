"""The extra that ``extras.after=[harness.commands.encoder_stage.encoder]`` names: the vision encoder, which all share.

For each model and dtype of the points, the most frequent first: frames per second as the network is and compiled, by
batch, and how far the features are from those of the same network in fp32.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import chain, cycle, islice
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from harness.data.group import evenly
from harness.data.sources import open_groups
from harness.isolate.extra import Part
from harness.isolate.jobs import model_of
from harness.measure.cost import measure_matrix_rate
from harness.measure.samples import calls_of_a_sample, seconds_of
from harness.measure.timing import device_clock
from harness.options.points import Point
from strategies.components.compiled import compiled
from strategies.models.tracker import Tracker
from strategies.vocabulary import VisionFeatures

BATCHES = (8, 1, 32)
"""Frames that are encoded at once: what is measured first comes first."""
ROUNDS = 10
CHECKED_FRAMES = 4
"""The most frames, spread over the batch, that are compared with fp32."""

Encode = Callable[[Tensor], VisionFeatures]


@dataclass(frozen=True, kw_only=True)
class _Network:
    """A point's network and pictures, made when the first of its parts needs them."""

    point: Point

    @property
    def words(self) -> str:
        config = self.point.config
        return " ".join(filter(None, (config.model.name, config.model.weights, config.dtype)))

    @cached_property
    def model(self) -> Tracker:
        return model_of(self.point.config, known_usable=False)

    @cached_property
    def flops(self) -> int:
        """The FLOPs of encoding a frame; attention counts as its products, by whatever kernel it runs."""
        with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
            self.model.encode_pixels(self.pixels(1))
        return int(counted.get_total_flops())

    @cached_property
    def matrix_rate(self) -> float:
        with self.model.computing():
            return measure_matrix_rate(self.model.device, self.model.dtype, device_clock(self.model.device))

    @cached_property
    def compiled(self) -> Encode:
        return compiled(self.model.vision_features)

    def pixels(self, count: int) -> Tensor:
        """Return so many of the point's pictures on the device, again from the first where there are no more."""
        frames = chain.from_iterable((*group.references, *group.targets) for group in open_groups(self.point.config))
        chosen = islice(cycle(islice(frames, count)), count)
        return torch.stack([self.model.pixels(frame.image()) for frame in chosen]).to(self.model.device)


def encoder(points: Sequence[Point]) -> Mapping[str, Part]:
    """Return a part for each network, as it is and compiled, and batch."""
    networks = [_Network(point=point) for point in points]
    counts = Counter(network.words for network in networks)
    distinct = sorted({one.words: one for one in reversed(networks)}.values(), key=lambda one: -counts[one.words])
    return {
        f"{network.words}, {'compiled' if by_compiler else 'eager'}, {batch} frames": partial(
            _measured, network, batch, by_compiler=by_compiler
        )
        for network in distinct
        for by_compiler in (False, True)
        for batch in BATCHES
    }


def _measured(network: _Network, batch: int, *, by_compiler: bool) -> dict[str, Any]:
    model, pixels, clock = network.model, network.pixels(batch), device_clock(network.model.device)
    encode = network.compiled if by_compiler else model.vision_features
    with model.computing():
        warm_up = seconds_of(lambda: encode(pixels), 1, clock)
        calls = calls_of_a_sample(lambda: encode(pixels), clock)
        seconds = [seconds_of(lambda: encode(pixels), calls, clock) / calls for _ in range(ROUNDS)]
        features = encode(pixels)
    return {
        "model": network.point.config.model.name,
        "weights": network.point.config.model.weights,
        "dtype": model.dtype,
        "compiled": by_compiler,
        "batch": batch,
        "warm_up_seconds": warm_up,
        "seconds": seconds,
        "calls": calls,
        "flops_per_frame": network.flops,
        "matrix_flop_per_s": network.matrix_rate,
        "difference": _difference(model, pixels, features),
    }


def _difference(model: Tracker, pixels: Tensor, features: VisionFeatures) -> float:
    """Return the largest difference from fp32, as a share of the largest feature of the same level."""
    plain, differences = model.in_dtype("fp32"), []
    for index in evenly(range(len(pixels)), CHECKED_FRAMES):
        right = plain.encode_pixels(pixels[index : index + 1])
        for name, level in vars(right).items():
            found = getattr(features, name)[index : index + 1].float()
            differences.append(float((found - level).abs().max() / level.abs().max()))
    return max(differences)
