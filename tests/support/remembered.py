"""What many tests would make anew although it is the same: the noise floor of the same samples, a device's rates, toys.

The floor is a function of its samples and the network alone, what products and copies take here is a fact about this
machine, and a copy of a network has its bits, so remembering them changes no test, only how long it takes.
"""

from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from harness.masks.noise import NoiseFloor, Sample, measure_noise
from harness.measure.cost import measure_copy_rate, measure_matrix_rate
from harness.measure.timing import Clock
from strategies.models.loading import load_model
from strategies.models.tracker import Tracker
from strategies.vocabulary import VisionFeatures

FLOORS: dict[str, NoiseFloor] = {}
RATES: dict[tuple[str, ...], float] = {}
TOYS: dict[str, Tracker] = {}
MEASURING_RATES = ("harness.measure.point", "harness.job.encoding")
"""Modules that measure a rate of the device beside something else."""


def remembered_floor(model: Tracker, samples: Sequence[Sample]) -> NoiseFloor:
    """`measure_noise`, once for the same samples: what is expected of them tells the network too."""
    parts: list[VisionFeatures | Tensor] = []
    for sample in samples:
        parts += [sample.references.features, sample.targets, sample.references.masks]
        parts += [sample.expected.logits, sample.expected.object_scores]
    key = digest(model, parts)
    if key not in FLOORS:
        FLOORS[key] = measure_noise(model, samples)
    return FLOORS[key]


def digest(model: Tracker, parts: Sequence[VisionFeatures | Tensor]) -> str:
    """Tell a kind of network and the content of what it is given from all others."""
    content = hashlib.sha256(f"{type(model)} {model.name} {model.dtype} {model.device}".encode())
    for part in parts:
        levels = (part,) if isinstance(part, Tensor) else (part.embedding, part.stride4, part.stride8)
        for tensor in levels:
            content.update(tensor.cpu().contiguous().float().numpy().tobytes())
    return content.hexdigest()


def remembered_matrix_rate(device: torch.device, dtype: str, clock: Clock) -> float:
    """`measure_matrix_rate`, once for a device and a dtype; by a clock of the test's own it is measured each time."""
    if clock is not time.perf_counter:
        return measure_matrix_rate(device, dtype, clock)
    return _remembered((str(device), dtype), lambda: measure_matrix_rate(device, dtype, clock))


def remembered_copy_rate(device: torch.device, clock: Clock) -> float:
    """`measure_copy_rate`, likewise."""
    if clock is not time.perf_counter:
        return measure_copy_rate(device, clock)
    return _remembered((str(device),), lambda: measure_copy_rate(device, clock))


def _remembered(key: tuple[str, ...], measure: Callable[[], float]) -> float:
    if key not in RATES:
        RATES[key] = measure()
    return RATES[key]


def copied_toy(name: str = "toy", **options: Any) -> Tracker:
    """`load_model`, and of a toy in fp32 on the CPU a copy of what it gave before, whoever spoils which of them."""
    usual = {"weights": None, "device": "cpu", "dtype": "fp32"}
    if "toy" not in name or any(options.get(option, value) != value for option, value in usual.items()):
        return load_model(name, **options)
    if name not in TOYS:
        TOYS[name] = load_model(name)
    return copy.deepcopy(TOYS[name])


@contextmanager
def remembering() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(patch("harness.workload.encode.measure_noise", remembered_floor))
        stack.enter_context(patch("strategies.models.loading.load_model", copied_toy))
        stack.enter_context(patch("harness.measure.point.measure_copy_rate", remembered_copy_rate))
        for module in MEASURING_RATES:
            stack.enter_context(patch(f"{module}.measure_matrix_rate", remembered_matrix_rate))
        yield
