"""The strategy `triton` gives the masks of `sequential` and `direct`; where it can't run, it says so.

Its kernels run on a GPU where there is one. Elsewhere they run in Triton's interpreter, which has to be on before
anything imports triton (transformers does): in a process of its own, which the last test starts.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from strategies import Direct, References, Sam2, Sequential, UnavailableError, UserError
from strategies.components.flops import raw_values_flops, shared_bank_flops
from strategies.components.memory_bank import build_memory_bank
from strategies.components.quantised import KV, KVS, check_kv
from strategies.models.precision import DTYPES
from strategies.models.sam2 import sam2_dimensions
from strategies.models.sam2_family import HIERA, model_config
from strategies.triton import SELF_ATTENTIONS, Triton
from tests.support.models import (
    TOKENS,
    TOLERANCE,
    TWINS,
    Pictures,
    assert_same_masks,
    copied,
    draw_pictures,
    group,
    lively,
    logit_error,
    masks_of,
    pick,
    score_error,
)

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
HAS_TRITON = importlib.util.find_spec("triton") is not None
RUNS_KERNELS = HAS_TRITON and (INTERPRETED or torch.cuda.is_available())

ON_COMMAND_LINE = "test_the_command_runs_the_fused_kernel_interpreted"
"""The test of ``python -m harness.kernels`` that needs the interpreter."""

needs_kernels = pytest.mark.skipif(not RUNS_KERNELS, reason="no CUDA: run by the last test, interpreted")
every_self_attention = pytest.mark.parametrize("self_attention", SELF_ATTENTIONS)

EIGHT_BITS: dict[KV, float] = {"int8": 1 / 127, "fp8": 2.0**-3}
"""How far apart neighbours are, next to the largest value of a token."""

PUBLISHED = {1: 160.9, 3: 246.8, 7: 418.6}
"""GFLOPs for one (target, object) at 1024 px, by references (DESIGN section 2), but for the pointers' tokens."""


@pytest.fixture(scope="module")
def device_model(model: Sam2) -> Sam2:
    """The lively model where the kernels run, without TF32, whose noise is above the tolerance."""
    if INTERPRETED:
        return model
    torch.backends.cudnn.allow_tf32 = False
    return Sam2(copy.deepcopy(model.network), name="toy", device="cuda")


@pytest.fixture(scope="module")
def device_pictures(device_model: Sam2) -> Pictures:
    return draw_pictures(device_model)


def labelled(model: Sam2, pictures: Pictures, *, references: int, objects: int) -> References:
    return group(model, pictures, frames=range(references), present=[[True] * objects] * references)


# --- masks ---------------------------------------------------------------------------------------------------------


@needs_kernels
@every_self_attention
@pytest.mark.parametrize(
    ("references", "objects", "targets", "batch", "pairs_at_once"),
    [(1, 1, 1, 1, 1024), (2, 3, 3, 2, 1024), (3, 2, 1, 1, 1), (1, 3, 2, 2, 4)],
)
def test_triton_equals_sequential(
    device_model: Sam2,
    device_pictures: Pictures,
    self_attention: str,
    references: int,
    objects: int,
    targets: int,
    batch: int,
    pairs_at_once: int,
) -> None:
    shown = labelled(device_model, device_pictures, references=references, objects=objects)
    chosen = pick(device_pictures.targets, range(targets))
    triton = Triton(device_model, self_attention=self_attention, chunk_tokens=pairs_at_once * TOKENS)
    expected = masks_of(Sequential(device_model), shown, chosen)
    assert_same_masks(masks_of(triton, shown, chosen, batch=batch), expected)


@needs_kernels
@pytest.mark.parametrize("name", TWINS)
def test_triton_equals_sequential_for_other_families(name: str) -> None:
    model = lively(name) if INTERPRETED else copied(lively(name), device="cuda")
    pictures = draw_pictures(model)
    shown = labelled(model, pictures, references=6, objects=1)
    targets = pictures.targets[:2]
    assert_same_masks(masks_of(Triton(model), shown, targets), masks_of(Sequential(model), shown, targets))


@needs_kernels
def test_triton_equals_direct_without_pointers_in_memory(device_model: Sam2, device_pictures: Pictures) -> None:
    pointless = Sam2(copy.deepcopy(device_model.network), name="toy", device=str(device_model.device))
    pointless.network.config.max_object_pointers_in_encoder = 0
    shown = labelled(pointless, device_pictures, references=2, objects=2)
    with pointless.computing():
        assert build_memory_bank(pointless, shown).memory.shape[1] == 2 * TOKENS
    targets = device_pictures.targets[:1]
    assert_same_masks(masks_of(Triton(pointless), shown, targets), masks_of(Direct(pointless), shown, targets))


@needs_kernels
@every_self_attention
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_reduced_precision_is_as_near_to_fp32_as_that_of_direct(
    device_model: Sam2, device_pictures: Pictures, self_attention: str, dtype: str
) -> None:
    """Without flipped picks they are in three times direct's noise: the interpreter cuts off where a GPU rounds."""
    reduced = Sam2(device_model.network, name="toy", device=str(device_model.device), dtype=dtype)
    shown = labelled(device_model, device_pictures, references=1, objects=2)
    targets = device_pictures.targets[:3]
    expected = masks_of(Direct(device_model), shown, targets)
    errors = {}
    for name, strategy in {"direct": Direct(reduced), "triton": Triton(reduced, self_attention=self_attention)}.items():
        masks = masks_of(strategy, shown, targets)
        same = (masks.picks == expected.picks) & ((masks.object_scores > 0) == (expected.object_scores > 0))
        assert same.float().mean() > 0.6
        difference = (masks.logits - expected.logits)[same & (expected.object_scores > 0)].abs()
        errors[name] = float(difference.mean()), score_error(masks, expected)
    assert errors["triton"][0] <= 3 * errors["direct"][0]
    assert errors["triton"][1] <= 3 * errors["direct"][1]


@needs_kernels
@every_self_attention
def test_the_same_batch_twice_is_bit_equal(device_model: Sam2, device_pictures: Pictures, self_attention: str) -> None:
    with Triton(device_model, self_attention=self_attention) as strategy:
        strategy.prepare(labelled(device_model, device_pictures, references=1, objects=1))
        first, second = (strategy.predict(device_pictures.targets[:2]) for _ in range(2))
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.object_scores, second.object_scores)


@needs_kernels
def test_it_is_the_memory_that_makes_the_masks(device_model: Sam2, device_pictures: Pictures) -> None:
    targets = device_pictures.targets[:1]
    one, other = (
        masks_of(Triton(device_model), labelled(device_model, device_pictures, references=count, objects=1), targets)
        for count in (1, 2)
    )
    assert max(score_error(one, other), logit_error(one, other)) > 100 * TOLERANCE


# --- keys and values in 8 bits -------------------------------------------------------------------------------------


@needs_kernels
def test_8_bits_are_not_exact_and_as_near_as_they_are_fine(device_model: Sam2, device_pictures: Pictures) -> None:
    """`direct` rounds projected values, and so gets other masks, which are about as near."""
    shown = labelled(device_model, device_pictures, references=1, objects=1)
    targets = device_pictures.targets[:2]
    own = masks_of(Triton(device_model), shown, targets)
    assert Triton(device_model).exact
    for kv, as_wide in EIGHT_BITS.items():
        narrow = Triton(device_model, kv=kv)
        found, rounded = (masks_of(one, shown, targets) for one in (narrow, Direct(device_model, kv=kv)))
        assert not narrow.exact
        assert TOLERANCE < score_error(found, own) < as_wide
        assert score_error(found, rounded) < as_wide
        assert_same_masks(masks_of(narrow, shown, targets, batch=1), found)


@pytest.mark.skipif(not HAS_TRITON, reason="the package triton is not installed")
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_a_bank_in_8_bits_takes_a_byte_a_value_and_four_a_token(model: Sam2, pictures: Pictures, dtype: str) -> None:
    from strategies.kernels.memory_attention import FusedMemoryAttention

    reduced = Sam2(model.network, name="toy", dtype=dtype)
    with reduced.computing():
        bank = build_memory_bank(reduced, labelled(reduced, pictures, references=2, objects=2))
        takes = {kv: FusedMemoryAttention(reduced, bank, fused_self_attention=False, kv=kv).bank_bytes for kv in KVS}
    attention = model.dimensions.memory_attention
    tokens, values = bank.memory[..., 0].numel(), attention.layers * attention.width + bank.memory.shape[-1]
    assert takes["own"] == tokens * values * DTYPES[dtype].itemsize
    assert takes["int8"] == takes["fp8"] == tokens * (values + 4 * (attention.layers + 1))


def test_fp8_is_refused_by_a_gpu_that_does_not_convert_it(model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "A100")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    with pytest.raises(UnavailableError, match=r"the A100 has 8\.0: use kv=int8"):
        check_kv("fp8", gpu)
    for kv in ("own", "int8"):
        check_kv(kv, gpu)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 9))
    check_kv("fp8", gpu)


# --- FLOPs ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("references", PUBLISHED)
@pytest.mark.parametrize("size", HIERA)
def test_the_count_is_the_designs(size: str, references: int) -> None:
    work = raw_values_flops(sam2_dimensions(model_config(f"sam2.1_hiera_{size}")), references)
    pointers = references * 4  # tokens of 64 of a pointer of 256
    over_pointers = 4 * 2 * 4096 * pointers * (256 + 64)
    gigaflops = (work.per_target + work.per_pair - over_pointers) / 1e9
    assert PUBLISHED[references] - 0.2 < gigaflops < PUBLISHED[references], "the decoder takes a little less by now"


def test_raw_values_save_only_in_the_attention_of_pairs(model: Sam2) -> None:
    raw, projected = (count(model.dimensions, 2) for count in (raw_values_flops, shared_bank_flops))
    assert raw.per_target == projected.per_target
    assert raw.per_pair < projected.per_pair


@needs_kernels
def test_objects_in_chunks_begin_at_layer_0_again(device_model: Sam2, device_pictures: Pictures) -> None:
    shown = labelled(device_model, device_pictures, references=1, objects=3)
    work = raw_values_flops(device_model.dimensions, 1)
    for pairs_at_once, chunks in ((3, 1), (2, 2)):
        with Triton(device_model, chunk_tokens=pairs_at_once * TOKENS) as strategy:
            strategy.prepare(shown)
            assert strategy.flops(5) == 5 * (chunks * work.per_target + 3 * work.per_pair)


# --- where it can't run --------------------------------------------------------------------------------------------


def test_a_model_on_a_cpu_is_refused(model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(UserError, match="needs a CUDA GPU and the package triton, and the model is on cpu"):
        Triton(model)


def test_without_the_package_it_is_refused(model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UserError, match="needs a CUDA GPU and the package triton"):
        Triton(model)


def test_an_unknown_kv_is_refused(model: Sam2) -> None:
    with pytest.raises(UserError, match="kv=int4 is not known; choose one of own, int8, fp8"):
        Triton(model, kv="int4")


def test_an_unknown_self_attention_is_refused(model: Sam2) -> None:
    with pytest.raises(UserError, match="self_attention=eager is not known; choose one of library, fused"):
        Triton(model, self_attention="eager")


@pytest.mark.skipif(not HAS_TRITON, reason="the package triton is not installed")
def test_models_of_several_heads_or_odd_widths_are_refused(model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    heads, widths = (Sam2(copy.deepcopy(model.network), name="other") for _ in range(2))
    heads.network.config.memory_attention_num_attention_heads = 2
    with pytest.raises(UserError, match="one head, and other has 2"):
        Triton(heads)
    widths.network.config.memory_attention_hidden_size = 96
    with pytest.raises(UserError, match=r"powers of two, and other has \(96, 96\)"):
        Triton(widths)


@pytest.mark.compiler
@pytest.mark.processes
@pytest.mark.skipif(RUNS_KERNELS, reason="the kernels run in this process")
@pytest.mark.skipif(not HAS_TRITON, reason="the package triton is not installed")
def test_kernels_and_strategy_are_right_in_the_interpreter() -> None:
    here = Path(__file__)
    command = here.parents[1] / "harness" / "commands" / "test_kernels.py"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
            *(here.with_name("test_kernels.py"), here, f"{command}::{ON_COMMAND_LINE}"),
        ],
        # oneDNN may believe in instructions that a virtual machine does not run: see strategies/cpu_features.py.
        env={**os.environ, "TRITON_INTERPRET": "1", "ONEDNN_MAX_CPU_ISA": "AVX2"},
        cwd=here.parents[1],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
