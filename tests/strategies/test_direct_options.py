"""How `direct` runs: compiled, as CUDA graphs, with a chosen attention kernel, in TF32 or bf16.

None of it may change a mask; what a machine can't do is refused in one sentence.
"""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode

from strategies import Direct, Predictions, References, Sam2, Sequential, Strategy, UnavailableError, UserError
from strategies.components.compiled import compiled
from strategies.components.cuda_graphs import Graphs, Recorded
from strategies.components.sdpa import explain_refusals, observed
from strategies.components.static_shapes import Outputs, Padded
from strategies.cpu_features import usable_on_cpu
from strategies.direct import BANKS
from strategies.multi_session import MultiSession
from strategies.vocabulary import VisionFeatures
from tests.support.harness_runs import ROOT, TINY, only_run, run_here, strict_json, summary
from tests.support.models import TOKENS, Pictures, assert_same_masks, draw_pictures, group, masks_of, other_families

BATCH = 4
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
every_bank = pytest.mark.parametrize("bank", BANKS)


def references(model: Sam2, pictures: Pictures, *, frames: int = 2, objects: int = 2, seed: int = 0) -> References:
    return group(model, pictures, frames=range(seed, seed + frames), present=[[True] * objects] * frames, seed=seed)


def refusal(make: Callable[[], object]) -> str:
    """Return the sentence which says that this machine can't."""
    with pytest.raises(UnavailableError) as refused:
        make()
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def backends(strategy: Strategy, asked: References, targets: VisionFeatures) -> Counter[str]:
    """Count the backends of one batch, by a strategy that is warm."""
    with strategy:
        strategy.prepare(asked)
        strategy.predict(targets)
        with observed() as counts:
            strategy.predict(targets)
    return counts


# --- attention kernels -----------------------------------------------------------------------------------------------


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


# --- one size for all batches ----------------------------------------------------------------------------------------


def numbered(count: int) -> VisionFeatures:
    """Features that tell which target they are of, laid out in memory as an encoder leaves them: targets last."""
    levels = [torch.arange(float(count)).repeat(4, 1).T.reshape(count, 1, 2, 2).permute(1, 2, 3, 0) for _ in range(3)]
    embedding, stride4, stride8 = (level.contiguous().permute(3, 0, 1, 2) for level in levels)
    return VisionFeatures(embedding=embedding, stride4=stride4, stride8=stride8)


def outputs_of(targets: VisionFeatures, objects: slice) -> Outputs:
    shown = targets.embedding[:, 0, 0, :1] + 100 * torch.arange(objects.start, objects.stop)
    return shown[..., None, None], shown, shown[..., None]


def test_batches_are_padded_to_the_largest_so_far_and_the_padding_is_cut_off() -> None:
    sizes = []

    def chunk(targets: VisionFeatures, objects: slice) -> Outputs:
        sizes.append(len(targets))
        assert targets.embedding.is_contiguous()
        assert targets.stride4.is_contiguous()
        assert targets.stride8.is_contiguous()
        return outputs_of(targets, objects)

    padded = Padded(chunk)
    for count in (2, 4, 4, 1, 3):
        logits, scores, ious = padded(numbered(count), slice(1, 3))
        assert scores.tolist() == [[100.0 + target, 200.0 + target] for target in range(count)]
        assert logits.shape == (count, 2, 1, 1)
        assert ious.shape == (count, 2, 1)
    assert sizes == [2, 4, 4, 4, 4]


class Tape:
    """Records as a CUDA graph does: its outputs always lie in the same memory, and come from the recorded inputs."""

    def __init__(self) -> None:
        self.recorded = 0

    def __call__(self, work: Callable[[], Outputs]) -> Recorded:
        self.recorded += 1
        outputs = work()

        def replay() -> None:
            for place, value in zip(outputs, work(), strict=True):
                place.copy_(value)

        return Recorded(replay=replay, outputs=outputs)


def test_a_graph_is_recorded_for_each_shape_and_replayed_on_new_inputs() -> None:
    tape = Tape()
    graphs = Graphs(outputs_of, tape)
    kept = []
    for first in range(3):
        for objects in (slice(0, 2), slice(2, 3)):
            targets = numbered(5)[first : first + 2]
            kept.append((graphs(targets, objects), outputs_of(targets, objects)))
    assert tape.recorded == 2
    graphs(numbered(3), slice(0, 2))
    assert tape.recorded == 3
    for given, expected in kept:  # outputs of before have not been overwritten
        assert all(torch.equal(one, other) for one, other in zip(given, expected, strict=True))


@pytest.mark.slow
@every_bank
def test_masks_of_recorded_and_padded_chunks_are_those_of_sequential(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch, bank: str
) -> None:
    tapes = []

    def recorder(device: torch.device) -> Tape:
        tapes.append(Tape())
        return tapes[-1]

    monkeypatch.setattr("strategies.direct.CudaRecorder", recorder)
    direct = Direct(model, bank=bank, cuda_graphs=True, chunk_tokens=6 * TOKENS)
    for seed, objects in [(0, 2), (1, 2), (2, 1)]:
        asked = references(model, pictures, objects=objects, seed=seed)
        expected = masks_of(Sequential(model), asked, pictures.targets)
        assert_same_masks(masks_of(direct, asked, pictures.targets, batch=7), expected)
    (tape,) = tapes
    assert tape.recorded == 3, "one for each group, however its batches and chunks end"


# --- CUDA graphs -----------------------------------------------------------------------------------------------------


def test_cuda_graphs_need_a_cuda_device(model: Sam2) -> None:
    sentence = refusal(lambda: Direct(model, cuda_graphs=True))
    assert "cuda_graphs=true needs a CUDA GPU, and the model is on cpu" in sentence


@pytest.fixture(scope="module")
def cuda_model(model: Sam2) -> Sam2:
    return Sam2(copy.deepcopy(model.network), name="toy", device="cuda")


@pytest.fixture(scope="module")
def cuda_pictures(cuda_model: Sam2) -> Pictures:
    return draw_pictures(cuda_model)


@needs_cuda
@pytest.mark.compiler
@every_bank
@pytest.mark.parametrize("compile", [False, True])
def test_cuda_graphs_change_no_mask(cuda_model: Sam2, cuda_pictures: Pictures, bank: str, compile: bool) -> None:
    direct = Direct(cuda_model, bank=bank, cuda_graphs=True, compile=compile)
    for seed in range(3):
        asked = references(cuda_model, cuda_pictures, seed=seed)
        expected = masks_of(Sequential(cuda_model), asked, cuda_pictures.targets)
        assert_same_masks(masks_of(direct, asked, cuda_pictures.targets, batch=BATCH), expected)


@needs_cuda
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_graph_in_reduced_precision_outlives_the_casts_it_was_recorded_with(
    cuda_model: Sam2, cuda_pictures: Pictures, dtype: str
) -> None:
    reduced = Sam2(cuda_model.network, name="toy", device="cuda", dtype=dtype)
    asked = references(reduced, cuda_pictures)
    expected = masks_of(Direct(reduced), asked, cuda_pictures.targets)
    with Direct(reduced, cuda_graphs=True) as direct:
        direct.prepare(asked)
        direct.predict(cuda_pictures.targets)
        del_me = [torch.full((256, 256), float("nan"), device="cuda") for _ in range(64)]
        again = direct.predict(cuda_pictures.targets)
    assert len(del_me) == 64
    assert_same_masks(again, expected)


@needs_cuda
def test_released_graphs_leave_no_memory_behind(cuda_model: Sam2, cuda_pictures: Pictures) -> None:
    direct = Direct(cuda_model, cuda_graphs=True)
    asked = references(cuda_model, cuda_pictures)
    held = []
    for _ in range(3):
        masks_of(direct, asked, cuda_pictures.targets)
        torch.cuda.empty_cache()
        held.append(torch.cuda.memory_reserved())
    assert held[2] <= held[0]


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


# --- compiled --------------------------------------------------------------------------------------------------------


def without_code(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let torch trace what is compiled and run it as it is; returns the list of what will have been compiled."""
    compile_, made = torch.compile, []

    def traced(function: Any, *, options: Any, **others: Any) -> Any:
        made.append(function)
        return compile_(function, backend="eager", **others)

    monkeypatch.setattr(torch, "compile", traced)
    return made


def test_there_is_no_limit_to_the_shapes_and_each_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = without_code(monkeypatch)
    doubled = compiled(lambda x, parts: x * 2 + parts[0])
    shapes = 12
    assert shapes > torch._dynamo.config.recompile_limit
    for _ in range(2):
        for size in range(1, shapes + 1):
            given = torch.rand(size, 3)
            assert torch.equal(doubled(given, (given[:1],)), given * 2 + given[:1])
    assert len(made) == shapes
    with torch.compiler.set_stance("fail_on_recompile"):
        doubled(torch.rand(shapes, 3), (torch.rand(1, 3),))


def compiled_masks(direct: Direct, asked: References, targets: VisionFeatures) -> Predictions:
    """Predict with a last batch that is not full, for which nothing may be compiled again."""
    with direct:
        direct.prepare(asked)
        first = direct.predict(targets[:BATCH])
        with torch.compiler.set_stance("fail_on_recompile"):
            parts = [direct.predict(targets[start : start + BATCH]) for start in range(BATCH, len(targets), BATCH)]
        return Predictions.concatenate([first, *parts])


@pytest.fixture(scope="module")
def shallow(model: Sam2) -> Sam2:
    """Memory attention and mask decoder of one layer: what is compiled takes its time."""
    network = copy.deepcopy(model.network)
    for module in (network.memory_attention, network.mask_decoder.transformer):
        module.layers = module.layers[:1]
    return type(model)(network, name=model.name)


@pytest.mark.slow
@other_families
@every_bank
def test_what_is_compiled_of_another_family_gives_the_same_masks(
    shallow: Sam2, pictures: Pictures, bank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_code(monkeypatch)
    asked = references(shallow, pictures, frames=6)
    masks = compiled_masks(Direct(shallow, bank=bank, compile=True), asked, pictures.targets)
    assert_same_masks(masks, masks_of(Sequential(shallow), asked, pictures.targets))
    assert len(made) == 1


@pytest.mark.compiler
@other_families
def test_compiled_code_of_another_family_gives_the_same_masks(shallow: Sam2, pictures: Pictures) -> None:
    asked = references(shallow, pictures)
    masks = compiled_masks(Direct(shallow, compile=True), asked, pictures.targets)
    assert_same_masks(masks, masks_of(Sequential(shallow), asked, pictures.targets))


@pytest.mark.slow
def test_one_compilation_serves_all_batches_and_groups_of_a_shape(
    shallow: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_code(monkeypatch)
    direct = Direct(shallow, compile=True)
    for seed in (0, 5):
        asked = references(shallow, pictures, seed=seed)
        expected = masks_of(Sequential(shallow), asked, pictures.targets)
        assert_same_masks(compiled_masks(direct, asked, pictures.targets), expected)
    assert len(made) == 1
    encoded = shallow.vision_features(pictures.pixels[:BATCH])  # laid out in memory as the encoder leaves them
    assert not encoded.embedding.is_contiguous()
    with direct:
        direct.prepare(asked)
        direct.predict(encoded)
    assert len(made) == 1

    chunked = Direct(shallow, compile=True, chunk_tokens=2 * BATCH * TOKENS)
    with chunked:
        chunked.prepare(asked)
        assert_same_masks(chunked.predict(pictures.targets), expected)
    assert len(made) == 2, "another strategy, but chunks of one size"

    other = references(shallow, pictures, frames=1, objects=1)
    expected = masks_of(Sequential(shallow), other, pictures.targets)
    assert_same_masks(compiled_masks(direct, other, pictures.targets), expected)
    assert len(made) == 3, "fewer references and objects"


@pytest.mark.compiler
@pytest.mark.parametrize(("bank", "sdpa"), [*((bank, "auto") for bank in BANKS), ("shared", "math")])
def test_compiled_code_gives_the_same_masks_with_every_bank_and_does_not_make_flash_of_math(
    shallow: Sam2, pictures: Pictures, bank: str, sdpa: str
) -> None:
    asked = references(shallow, pictures, objects=2 if sdpa == "auto" else 1)
    direct = Direct(shallow, bank=bank, compile=True, sdpa=sdpa)
    masks = compiled_masks(direct, asked, pictures.targets)
    assert_same_masks(masks, masks_of(Sequential(shallow), asked, pictures.targets))
    ran = set(backends(direct, asked, pictures.targets[:BATCH]))
    assert ran == {"flash"} if sdpa == "auto" else "flash" not in ran


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def shallow_toy(shallow: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line measures the shallow network, whatever model it is asked for."""
    monkeypatch.setattr("strategies.models.loading.load_model", lambda *_, **__: shallow)


@pytest.mark.slow
@pytest.mark.usefixtures("shallow_toy")
def test_the_options_are_swept_and_what_cannot_be_had_here_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_code(monkeypatch)
    options = ("compile=false,true", "cuda_graphs=false,true", "sdpa=auto,cudnn", "device=cpu")
    done = run_here(tmp_path, "strategy=direct", "batch=2", *options, *TINY)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "results")
    rows = {row["variant"]: row for row in summary(folder)}
    assert {variant: (row["status"], row["sdpa"]) for variant, row in rows.items()} == {
        "shared": ("ok", "flash"),
        "shared-compile": ("ok", "flash"),
        "shared-cudnn": ("skipped", ""),
        "shared-compile-cudnn": ("skipped", ""),
        "shared-cuda_graphs": ("skipped", ""),
        "shared-compile-cuda_graphs": ("skipped", ""),
        "shared-cuda_graphs-cudnn": ("skipped", ""),
        "shared-compile-cuda_graphs-cudnn": ("skipped", ""),
    }
    assert float(rows["shared-compile"]["iou_min"]) > 0.99
    assert "sdpa=cudnn needs a CUDA GPU" in rows["shared-cudnn"]["reason"]
    assert "cuda_graphs=true needs a CUDA GPU" in rows["shared-cuda_graphs"]["reason"]
    stored = strict_json(folder / "points" / f"{rows['shared']['point']}.json")
    assert stored["details"]["sdpa"] == {"flash": 4}, "two in memory attention's layer, two in the decoder's"
    assert len(made) == 1, "by the one point that compiles and runs"


@pytest.mark.compiler
@pytest.mark.usefixtures("shallow_toy")
def test_without_a_compiler_compiled_points_are_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    with inductor.patch({"cpp.cxx": (None, str(tmp_path / "no-compiler"))}):
        done = run_here(tmp_path, "strategy=direct", "batch=2", "compile=true", "device=cpu", *TINY)
    assert done.returncode == 0, done.stderr
    (row,) = summary(only_run(tmp_path / "results"))
    assert row["status"] == "skipped"
    assert row["reason"].startswith("compile=true does not work here (")
    assert "install a C++ compiler" in row["reason"]
    assert "\n" not in row["reason"]
    assert "Traceback" not in done.stderr
