"""`direct` with a chosen attention kernel or precision: no mask changes, and what a machine can't do is refused."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from strategies import Direct, Sam2, Sequential, UserError
from strategies.components.sdpa import explain_refusals, observed
from strategies.cpu_features import usable_on_cpu
from strategies.multi_session import MultiSession
from tests.support.direct import backends, every_bank, needs_cuda, references, refusal
from tests.support.models import TOKENS, Pictures, assert_same_masks, masks_of
from tests.support.paths import ROOT


@pytest.mark.slow
@every_bank
@pytest.mark.parametrize("sdpa", ["flash", "math"])
def test_the_chosen_attention_runs_and_no_other_and_changes_no_mask(
    model: Sam2, pictures: Pictures, bank: str, sdpa: str
) -> None:
    asked = references(model, pictures)
    direct = Direct(model, bank=bank, sdpa=sdpa)
    assert_same_masks(masks_of(direct, asked, pictures.targets), masks_of(Sequential(model), asked, pictures.targets))
    assert set(backends(direct, asked, pictures.targets[:2])) == {sdpa}


@every_bank
def test_left_to_torch_a_cpu_takes_flash_for_every_attention(model: Sam2, pictures: Pictures, bank: str) -> None:
    counts = backends(Direct(model, bank=bank), references(model, pictures), pictures.targets[:3])
    assert set(counts) == {"flash"}
    decoder = 2 * model.network.config.mask_decoder_config.num_hidden_layers  # what is left of `TwoWay`
    memory = 2 * model.network.config.memory_attention_num_layers
    assert counts["flash"] == decoder + (2 * memory if bank == "expand" else memory)


def test_what_other_strategies_and_their_threads_run_is_counted_too(model: Sam2, pictures: Pictures) -> None:
    asked, targets = references(model, pictures, objects=1), pictures.targets[:2]
    one = backends(Sequential(model), asked, targets)
    assert set(one) == {"flash"}
    assert backends(MultiSession(model, sessions=2), asked, targets) == one


@pytest.mark.parametrize("sdpa", ["cudnn", "efficient"])
def test_backends_of_gpus_are_not_to_be_had_on_a_cpu(model: Sam2, sdpa: str) -> None:
    sentence = refusal(lambda: Direct(model, sdpa=sdpa))
    assert f"sdpa={sdpa} needs a CUDA GPU" in sentence
    assert "auto, flash, math" in sentence


def test_an_unknown_backend(model: Sam2) -> None:
    with pytest.raises(UserError, match="sdpa=quick is not known; choose one of auto, flash, cudnn, efficient, math"):
        Direct(model, sdpa="quick")


@pytest.fixture(scope="module")
def narrow_values(model: Sam2) -> Sam2:
    """Values of cross-attention half as wide as its keys, which flash does not take."""
    network = copy.deepcopy(model.network)
    for layer in network.memory_attention.layers:
        attention = layer.cross_attn_image
        attention.v_proj = nn.Linear(64, attention.internal_dim // 2)
        attention.o_proj = nn.Linear(attention.internal_dim // 2, attention.hidden_size)
    return Sam2(network.requires_grad_(False), name="toy")


def test_where_torch_has_to_mix_backends_both_are_counted(narrow_values: Sam2, pictures: Pictures) -> None:
    counts = backends(Direct(narrow_values), references(narrow_values, pictures), pictures.targets[:2])
    assert [backend for backend, _ in counts.most_common()] == ["flash", "math"]


@pytest.mark.parametrize("compile", [False, True])
def test_a_backend_that_refuses_a_shape_is_not_replaced_by_another(
    narrow_values: Sam2, pictures: Pictures, compile: bool
) -> None:
    with Direct(narrow_values, sdpa="flash", compile=compile) as direct:
        direct.prepare(references(narrow_values, pictures))
        sentence = refusal(lambda: direct.predict(pictures.targets[:2]))
    assert "sdpa=flash does not take this model's attention in fp32 on cpu" in sentence


@pytest.mark.parametrize(
    "said",
    [
        "No available kernel. Aborting execution.",
        "cuDNN Frontend error: [cudnn_frontend] Error: No valid execution plans built.",
        "cuDNN Frontend error: [cudnn_frontend] Error: No execution plans support the graph.",
    ],
)
def test_every_way_to_refuse_a_shape_is_explained(said: str) -> None:
    def refuse() -> None:
        with explain_refusals("cudnn", dtype="bf16", device=torch.device("cuda")):
            raise RuntimeError(said)

    assert "sdpa=cudnn does not take this model's attention in bf16 on cuda" in refusal(refuse)


def peak_bytes(work: Callable[[], object]) -> int:
    """Return the most bytes that torch's allocator gave out within at once."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    now, peak = 0, 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    return peak


def test_the_shared_bank_never_makes_the_matrix_of_queries_and_keys(model: Sam2, pictures: Pictures) -> None:
    objects, frames = 3, 16
    few, many = (references(model, pictures, frames=count, objects=objects) for count in (1, frames))
    scores = 4 * objects * (len(pictures.targets) * TOKENS) * (frames * TOKENS)

    def growth(sdpa: str) -> int:
        peaks = []
        for asked in (few, many):
            with Direct(model, sdpa=sdpa) as direct:
                direct.prepare(asked)
                peaks.append(peak_bytes(partial(direct.predict, pictures.targets)))
        return peaks[1] - peaks[0]

    assert growth("auto") < scores / 10
    assert growth("math") > scores, "or this test sees nothing"


# --- precision -------------------------------------------------------------------------------------------------------


class Products(TorchDispatchMode):
    """Notes what matrix products, convolutions and attentions are of."""

    def __init__(self) -> None:
        super().__init__()
        self.dtypes: Counter[torch.dtype] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(word in str(func) for word in ("mm.", "conv", "dot_product", "linear.", "matmul")):
            self.dtypes.update(value.dtype for value in args if isinstance(value, torch.Tensor))
        return func(*args, **(kwargs or {}))


@pytest.mark.slow
@every_bank
def test_in_bf16_every_product_is_of_bf16_and_attention_is_flash(model: Sam2, pictures: Pictures, bank: str) -> None:
    if not usable_on_cpu(torch.bfloat16):
        pytest.skip("kills the process on this CPU: run by the next test, in a process without AMX")
    reduced = Sam2(model.network, name="toy", dtype="bf16")
    asked = references(reduced, pictures)
    direct = Direct(reduced, bank=bank)
    assert set(backends(direct, asked, pictures.targets)) == {"flash"}
    with direct, Products() as products:
        direct.prepare(asked)
        products.dtypes.clear()
        direct.predict(pictures.targets)
    assert set(products.dtypes) == {torch.bfloat16}


@pytest.mark.processes
def test_bf16_in_a_process_that_may_use_it() -> None:
    if usable_on_cpu(torch.bfloat16):
        pytest.skip("it ran in this process")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "in_bf16", __file__],
        cwd=ROOT,
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stdout
    assert "3 passed" in ended.stdout


def test_tf32_needs_a_gpu_that_has_it(model: Sam2) -> None:
    sentence = refusal(lambda: Sam2(model.network, name="toy", dtype="tf32"))
    assert "dtype=tf32 needs a CUDA GPU of compute capability 8.0 or more" in sentence


@pytest.fixture
def tf32_settings() -> Iterator[tuple[Any, Any]]:
    """The settings of products and of convolutions, each with ``allow_tf32``, which are restored afterwards."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [setting.allow_tf32 for setting in settings]
    yield settings
    for setting, value in zip(settings, before, strict=True):
        setting.allow_tf32 = value


@pytest.mark.parametrize("before", [(True, False), (False, True)])
@pytest.mark.parametrize(("dtype", "allowed"), [("fp32", False), ("tf32", True)])
def test_tf32_is_on_where_it_is_asked_for_and_nowhere_else(
    model: Sam2, tf32_settings: tuple[Any, Any], dtype: str, allowed: bool, before: tuple[bool, bool]
) -> None:
    asked = Sam2(model.network, name="toy")
    asked.dtype = dtype  # as on a GPU; a CPU heeds neither setting
    for setting, value in zip(tf32_settings, before, strict=True):
        setting.allow_tf32 = value
    with asked.computing():
        assert [setting.allow_tf32 for setting in tf32_settings] == [allowed, allowed]
    assert tuple(setting.allow_tf32 for setting in tf32_settings) == before


# --- on a GPU --------------------------------------------------------------------------------------------------------


@needs_cuda
@pytest.mark.parametrize(("sdpa", "dtype"), [("cudnn", "bf16"), ("efficient", "fp32"), ("flash", "bf16")])
def test_gpus_run_the_chosen_attention(cuda_model: Sam2, cuda_pictures: Pictures, sdpa: str, dtype: str) -> None:
    """Four objects share layer 0's queries, which have a stride of 0 along them."""
    reduced = Sam2(cuda_model.network, name="toy", device="cuda", dtype=dtype)
    for graphs in (False, True):
        direct = Direct(reduced, sdpa=sdpa, cuda_graphs=graphs)
        with direct, observed() as counts:
            direct.prepare(references(reduced, cuda_pictures, objects=4))
            direct.predict(cuda_pictures.targets)
        assert set(counts) == {sdpa}


@needs_cuda
def test_flash_on_a_gpu_refuses_fp32(cuda_model: Sam2, cuda_pictures: Pictures) -> None:
    sentence = refusal(lambda: Direct(cuda_model, sdpa="flash").prepare(references(cuda_model, cuda_pictures)))
    assert "in fp32 on cuda" in sentence
