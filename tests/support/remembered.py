"""What many tests would make anew although it is the same: the noise floor of the same samples, a device's rates, toys.

The floor is a function of its samples and the network alone, what products and copies take here is a fact about this
machine, and a copy of a network has its bits, so remembering them changes no test, only how long it takes.
"""

from __future__ import annotations

import copy
import hashlib
import io
import pickle
import time
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from harness.masks.noise import NoiseFloor, Sample, measure_noise
from harness.measure.cost import measure_copy_rate, measure_matrix_rate
from harness.measure.timing import Clock
from harness.workload.encoder_check import flops_of_a_frame
from strategies.models.loading import load_model
from strategies.models.tracker import Tracker
from strategies.oracle import Oracle
from strategies.vocabulary import Predictions, References, VisionFeatures

FLOORS: dict[str, NoiseFloor] = {}
RATES: dict[tuple[str, ...], float] = {}
FLOPS: dict[str, int] = {}
TOYS: dict[str, Packed] = {}
LOOKS: MutableMapping[Tracker, dict[str, Predictions]] = WeakKeyDictionary()
MEASURING_RATES = (
    "harness.job.encoding",
    "harness.commands.kernels",
    "harness.commands.kernel_table",
    "harness.commands.encoder_stage",
)
"""Modules that measure a rate of the device beside something else, and no point."""


class Packed:
    """A network to make copies of, in a third of the time that `copy.deepcopy` takes for one."""

    def __init__(self, model: Tracker) -> None:
        packed, self._tensors = io.BytesIO(), list[Tensor]()
        tensors = self._tensors

        class Pickler(pickle.Pickler):
            def persistent_id(self, value: object) -> int | None:
                if not isinstance(value, Tensor):
                    return None
                tensors.append(value)
                return len(tensors) - 1

        Pickler(packed, pickle.HIGHEST_PROTOCOL).dump(model)
        self._packed = packed.getvalue()

    def copy(self) -> Tracker:
        copies: dict[int, Tensor] = {}
        tensors = self._tensors

        class Unpickler(pickle.Unpickler):
            def persistent_load(self, place: int) -> Tensor:
                return copy.deepcopy(tensors[place], copies)

        model: Tracker = Unpickler(io.BytesIO(self._packed)).load()
        return model


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


def remembered_flops(model: Tracker) -> int:
    """`flops_of_a_frame`, once for networks of one architecture."""
    key = f"{type(model)} {model.dtype} {model.network.config.to_json_string(use_diff=False)}"
    if key not in FLOPS:
        FLOPS[key] = flops_of_a_frame(model)
    return FLOPS[key]


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
        TOYS[name] = Packed(load_model(name))
    return TOYS[name].copy()


class RememberedOracle(Oracle):  # type: ignore[misc, valid-type]
    """The oracle of second looks, which all faults that are tried on a workload ask for the same."""

    _waiting: References | None = None

    def _prepare(self, references: References) -> None:
        self._of = [references.features, references.masks]
        self._waiting = references

    def _predict(self, targets: VisionFeatures) -> Predictions:
        known = LOOKS.setdefault(self.model, {})
        key = digest(self.model, [*self._of, targets])
        if key not in known:
            if self._waiting is not None:
                super()._prepare(self._waiting)
                self._waiting = None
            known[key] = super()._predict(targets)
        return known[key]


def rates_of_this_cpu() -> dict[tuple[str, ...], float]:
    """What products and copies take here, measured by now, for processes that would measure it anew."""
    cpu = torch.device("cpu")
    remembered_matrix_rate(cpu, "fp32", time.perf_counter)
    remembered_copy_rate(cpu, time.perf_counter)
    return RATES


@contextmanager
def remembering_rates(known: Mapping[tuple[str, ...], float]) -> Iterator[None]:
    """What a point would measure of the device. known: rates that were measured elsewhere."""
    RATES.update(known)
    with ExitStack() as stack:
        stack.enter_context(patch("harness.measure.point.measure_copy_rate", remembered_copy_rate))
        stack.enter_context(patch("harness.measure.point.measure_matrix_rate", remembered_matrix_rate))
        yield


@contextmanager
def remembering() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(patch("harness.store.atomic.os.fsync"))  # No test cuts the power.
        stack.enter_context(patch("harness.workload.encode.measure_noise", remembered_floor))
        for module in ("harness.workload.encode", "harness.job.encoding"):
            stack.enter_context(patch(f"{module}.flops_of_a_frame", remembered_flops))
        stack.enter_context(patch("strategies.models.loading.load_model", copied_toy))
        stack.enter_context(patch("harness.measure.judge.Oracle", RememberedOracle))
        stack.enter_context(remembering_rates({}))
        for module in MEASURING_RATES:
            stack.enter_context(patch(f"{module}.measure_matrix_rate", remembered_matrix_rate))
        yield
