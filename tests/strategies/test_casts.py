"""Weights are cast to the model's dtype once, and masks are those that autocast gives when it casts at every use.

bf16 kills the process on CPUs that announce instructions which they do not have, so there the tests of it run in one of
their own without those instructions.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from strategies import Direct, ExtendedSession, Predictions, References, Sam2, Sequential, Strategy, load_model
from strategies.cpu_features import usable_on_cpu
from strategies.models.casts import NARROWED
from tests.support.models import Pictures, group
from tests.support.paths import ROOT

STRATEGIES: tuple[Callable[[Sam2], Strategy], ...] = (
    Sequential,
    lambda model: ExtendedSession(model, slots=2),
    Direct,
    lambda model: Direct(model, bank="repeat"),
)
in_bf16 = pytest.mark.usefixtures("usable_bf16")


@pytest.fixture
def usable_bf16() -> None:
    if not usable_on_cpu(torch.bfloat16):
        pytest.skip("kills the process on this CPU: run by the last test, in its own")


def two_objects(model: Sam2, pictures: Pictures) -> References:
    return group(model, pictures, frames=range(2), present=[[True] * 2] * 2)


class CastsOfWeights(TorchDispatchMode):
    """Counts conversions of a network's own tensors to another dtype."""

    def __init__(self, model: Sam2) -> None:
        super().__init__()
        self._weights = {tensor.untyped_storage().data_ptr() for tensor in model.network.parameters()}
        self.counts: Counter[torch.Size] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if isinstance(out, Tensor) and args and isinstance(args[0], Tensor) and args[0].dtype != out.dtype:
            name = func.overloadpacket.__name__
            if name in ("to", "_to_copy") and args[0].untyped_storage().data_ptr() in self._weights:
                self.counts[args[0].shape] += 1
        return out


def predictions_and_casts(
    make: Callable[[Sam2], Strategy], model: Sam2, pictures: Pictures
) -> tuple[Predictions, Counter[torch.Size]]:
    """Return the masks of four targets in two batches, and the casts that they took once a bank was there."""
    with make(model) as strategy:
        strategy.prepare(two_objects(model, pictures))
        with CastsOfWeights(model) as casts:
            parts = [strategy.predict(pictures.targets[start : start + 2]) for start in (0, 2)]
    return Predictions.concatenate(parts), casts.counts


@in_bf16
@pytest.mark.parametrize("make", STRATEGIES)
def test_in_bf16_no_target_has_a_weight_cast_and_every_bit_is_as_if_each_use_had(
    model: Sam2, pictures: Pictures, make: Callable[[Sam2], Strategy]
) -> None:
    at_every_use = Sam2(model.network, name="toy")
    at_every_use.dtype = "bf16"
    expected, repeated = predictions_and_casts(make, at_every_use, pictures)
    assert repeated.total() > 100, "or this test sees nothing"
    masks, casts = predictions_and_casts(make, Sam2(model.network, name="toy", dtype="bf16"), pictures)
    assert not casts
    for ours, theirs in zip(
        (masks.logits, masks.object_scores, masks.ious),
        (expected.logits, expected.object_scores, expected.ious),
        strict=True,
    ):
        assert torch.equal(ours, theirs)


@in_bf16
def test_in_bf16_encoder_and_bank_are_the_same_too(model: Sam2, pictures: Pictures) -> None:
    at_every_use = Sam2(model.network, name="toy")
    at_every_use.dtype = "bf16"
    once = Sam2(model.network, name="toy", dtype="bf16")
    with CastsOfWeights(once) as casts:
        ours, theirs = (each.encode_pixels(pictures.pixels[:2]) for each in (once, at_every_use))
    assert not casts.counts
    assert torch.equal(ours.embedding, theirs.embedding)
    assert torch.equal(ours.stride4, theirs.stride4)


@pytest.mark.processes
def test_bf16_in_a_process_that_may_use_it() -> None:
    if usable_on_cpu(torch.bfloat16):
        pytest.skip("it ran in this process")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n0", "-k", "in_bf16", Path(__file__)],
        cwd=ROOT,
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout
    assert f"{1 + len(STRATEGIES)} passed" in ended.stdout


def test_only_what_autocast_would_cast_is_cast_and_the_rest_is_shared(model: Sam2) -> None:
    reduced = Sam2(model.network, name="toy", dtype="bf16")
    narrow = {
        f"{name}.{part}"
        for name, module in reduced.network.named_modules()
        if isinstance(module, NARROWED)
        for part, _ in module.named_parameters(recurse=False)
    }
    stored = dict(model.network.named_parameters())
    for name, weight in reduced.network.named_parameters():
        if name in narrow:
            assert torch.equal(weight, stored[name].to(torch.bfloat16))
            assert weight.dtype == torch.bfloat16
        else:
            assert weight is stored[name]
    assert reduced.in_dtype("fp32").network is model.network, "nothing of the fp32 weights is lost"


def test_the_heads_of_random_weights_are_centred_before_they_are_cast() -> None:
    full, reduced = (load_model("toy", weights="random", dtype=dtype, known_usable=True) for dtype in ("fp32", "bf16"))
    assert isinstance(full, Sam2)
    assert isinstance(reduced, Sam2)
    ours, theirs = (one.network.mask_decoder.pred_obj_score_head.proj_out.bias for one in (reduced, full))
    assert theirs.any()
    assert torch.equal(ours, theirs.to(torch.bfloat16))
