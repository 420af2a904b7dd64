"""`direct` compiled, its options on the command line, and the vision encoder compiled: no mask changes.

They are in one file so that one process alone waits until the compiler has begun.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch._inductor import config as inductor
from torch._inductor import cpu_vec_isa
from transformers import Sam2VideoModel

from strategies import Direct, Predictions, References, Sam2, Sequential
from strategies.components.compiled import compiled
from strategies.components.encoder import Encoder
from strategies.direct import BANKS
from strategies.models.sam2_family import toy_config
from strategies.vocabulary import VisionFeatures
from tests.support.direct import backends, references
from tests.support.harness_runs import TINY, only_run, run_here, strict_json, summary
from tests.support.models import TOKENS, Pictures, assert_same_masks, masks_of, other_families
from tests.support.tensors import RELATIVE, difference

BATCH = 4


@pytest.fixture(scope="module", autouse=True)
def without_vectors() -> Iterator[None]:
    """Generated code is scalar: a compiler takes less time for it, and is not asked which vectors it knows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_vec_isa, "supported_vec_isa_list", [])
        yield


def compiled_by(monkeypatch: pytest.MonkeyPatch, backend_of: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """Let torch trace what is compiled, and a backend have it; returns the list of what will have been compiled.

    backend_of: makes the backend from the options that torch.compile is given.
    """
    compile_, made = torch.compile, []

    def instead(function: Any, *, options: dict[str, Any], **others: Any) -> Any:
        made.append(function)
        return compile_(function, backend=backend_of(options), **others)

    monkeypatch.setattr(torch, "compile", instead)
    return made


def without_code(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let torch run what it traced as it is."""
    return compiled_by(monkeypatch, lambda _: "eager")


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
@pytest.mark.parametrize("bank", ["expand", "repeat"])
def test_what_is_compiled_of_another_family_gives_the_same_masks(
    shallow: Sam2, pictures: Pictures, bank: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_code(monkeypatch)
    asked = references(shallow, pictures, frames=6)
    masks = compiled_masks(Direct(shallow, bank=bank, compile=True), asked, pictures.targets)
    assert_same_masks(masks, masks_of(Sequential(shallow), asked, pictures.targets))
    assert len(made) == 1


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
def test_compiled_code_gives_the_same_masks(shallow: Sam2, pictures: Pictures) -> None:
    asked = references(shallow, pictures)
    direct = Direct(shallow, compile=True)
    masks = compiled_masks(direct, asked, pictures.targets)
    assert_same_masks(masks, masks_of(Sequential(shallow), asked, pictures.targets))
    assert set(backends(direct, asked, pictures.targets[:BATCH])) == {"flash"}


def without_cpp(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Let inductor rewrite what torch traced, and run the graph that it would generate code of."""
    from torch._inductor.compile_fx import compile_fx  # It takes a second, also where no test of this file runs.

    def rewriting(options: dict[str, Any]) -> Any:
        return partial(compile_fx, inner_compile=lambda graph, *_, **__: graph, config_patches=options)

    return compiled_by(monkeypatch, rewriting)


@pytest.mark.compiler
@pytest.mark.parametrize(("bank", "sdpa"), [*((bank, "auto") for bank in BANKS), ("shared", "math")])
def test_what_is_compiled_gives_the_same_masks_with_every_bank_and_flash_is_not_made_of_math(
    shallow: Sam2, pictures: Pictures, bank: str, sdpa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cpp(monkeypatch)
    asked = references(shallow, pictures)
    direct = Direct(shallow, bank=bank, compile=True, sdpa=sdpa)
    masks = compiled_masks(direct, asked, pictures.targets)
    assert_same_masks(masks, masks_of(Sequential(shallow), asked, pictures.targets))
    ran = set(backends(direct, asked, pictures.targets[:BATCH]))
    assert ran == {"flash"} if sdpa == "auto" else "flash" not in ran


@pytest.mark.compiler
@other_families
def test_what_is_compiled_of_another_family_gives_the_same_masks_after_inductor_rewrote_it(
    shallow: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = without_cpp(monkeypatch)
    asked = references(shallow, pictures, frames=6)
    masks = compiled_masks(Direct(shallow, compile=True), asked, pictures.targets)
    assert_same_masks(masks, masks_of(Sequential(shallow), asked, pictures.targets))
    assert len(made) == 1


@pytest.mark.compiler
@pytest.mark.slow
def test_a_compiled_vision_encoder_makes_the_same_features_up_to_rounding(
    pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_cpp(monkeypatch)
    config = toy_config()
    config.vision_config.backbone_config.update({"blocks_per_stage": [1, 1, 2, 1], "global_attention_blocks": [3]})
    model = Sam2(Sam2VideoModel(config).eval(), name="shallow")
    encoder = Encoder(model, batch=2, compile=True, channels_last=True)
    found = encoder(pictures.pixels[:2])
    assert difference(found, model.encode_pixels(pictures.pixels[:2])) < RELATIVE
    with torch.compiler.set_stance("fail_on_recompile"):
        assert difference(encoder(pictures.pixels[2:3]), model.encode_pixels(pictures.pixels[2:3])) < RELATIVE


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
