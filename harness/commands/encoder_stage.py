"""The extra that ``extras.after=[harness.commands.encoder_stage.encoder]`` names: the vision encoder, which all share.

For each model and dtype of the points, the most frequent first: frames per second as the network is, compiled, and with
channels last, by batch, and how far the features are from those of the same network in fp32, beside the limit that
rounding explains (`harness.workload.encoder_check`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import chain, cycle, islice, product
from typing import Any

import torch
from torch import Tensor

from harness.data.sources import open_groups
from harness.isolate.extra import Part
from harness.isolate.jobs import model_of
from harness.measure.cost import measure_matrix_rate
from harness.measure.samples import calls_of_a_sample, seconds_of
from harness.measure.timing import device_clock
from harness.options.points import Point
from harness.workload.encoder_check import Fp32, flops_of_a_frame
from strategies.components.encoder import Encoder
from strategies.models.tracker import Tracker

BATCHES = (8, 1, 32)
"""Frames that are encoded at once: what is measured first comes first."""
ROUNDS = 10
CHECKED_FRAMES = 2
"""The distinct pictures of a batch, all of which are compared with fp32."""
WAYS = ((False, False), (False, True), (True, False), (True, True))
"""Whether it is compiled, and whether its convolutions keep channels last; what is measured first comes first."""


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
        return flops_of_a_frame(self.model)

    @cached_property
    def matrix_rate(self) -> float:
        with self.model.computing():
            return measure_matrix_rate(self.model.device, self.model.dtype, device_clock(self.model.device))

    @cached_property
    def pictures(self) -> Tensor:
        """The first of the point's pictures, on the device."""
        frames = chain.from_iterable((*group.references, *group.targets) for group in open_groups(self.point.config))
        first = [self.model.pixels(frame.image()) for frame in islice(frames, CHECKED_FRAMES)]
        return torch.stack(first).to(self.model.device)

    @cached_property
    def in_fp32(self) -> Fp32:
        return Fp32(self.model, self.pictures)

    def pixels(self, count: int) -> Tensor:
        """Return so many pictures, in their order and again from the first."""
        return torch.stack(list(islice(cycle(self.pictures), count)))


def encoder(points: Sequence[Point]) -> Mapping[str, Part]:
    """Return a part for each network, way and batch."""
    networks = [_Network(point=point) for point in points]
    counts = Counter(network.words for network in networks)
    distinct = sorted({one.words: one for one in reversed(networks)}.values(), key=lambda one: -counts[one.words])
    return {
        f"{network.words}, {_named(*way)}, {batch} frames": partial(_measured, network, batch, *way)
        for network, way, batch in product(distinct, WAYS, BATCHES)
    }


def _named(by_compiler: bool, channels_last: bool) -> str:
    return ("compiled" if by_compiler else "eager") + (", channels last" if channels_last else "")


def _measured(network: _Network, batch: int, by_compiler: bool, channels_last: bool) -> dict[str, Any]:
    model, pixels, clock = network.model, network.pixels(batch), device_clock(network.model.device)
    encode = Encoder(model, batch=batch, compile=by_compiler, channels_last=channels_last)
    warm_up = seconds_of(lambda: encode(pixels), 1, clock)
    calls = calls_of_a_sample(lambda: encode(pixels), clock)
    seconds = [seconds_of(lambda: encode(pixels), calls, clock) / calls for _ in range(ROUNDS)]
    checked = network.in_fp32.check(encode(pixels), dtype=model.dtype)
    return {
        "model": network.point.config.model.name,
        "weights": network.point.config.model.weights,
        "dtype": model.dtype,
        "compiled": by_compiler,
        "channels_last": channels_last,
        "batch": batch,
        "warm_up_seconds": warm_up,
        "seconds": seconds,
        "calls": calls,
        "flops_per_frame": network.flops,
        "matrix_flop_per_s": network.matrix_rate,
        "difference": checked.distance.largest,
        "checked": asdict(checked) | {"fault": checked.fault},
    }
