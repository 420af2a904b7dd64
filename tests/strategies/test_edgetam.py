"""What is EdgeTAM's own: a memory of latents, and a session that encodes memory which nobody sees."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from strategies import Direct, References, Sam2, Sequential, UnavailableError, load_model
from strategies.components.memory_bank import build_memory_bank
from strategies.cpu_features import usable_on_cpu
from strategies.models.edgetam import EdgeTamNetwork
from tests.support.models import EDGETAM_TOY, TOLERANCE, Pictures, draw_pictures, group, masks_of, spatial_memories
from tests.support.weights import change_weights, refusal

pytestmark = pytest.mark.parametrize("model", [EDGETAM_TOY], indirect=True)

LATENTS, OF_WINDOWS = 8, 16


@pytest.fixture
def references(model: Sam2, pictures: Pictures) -> References:
    """Three, and an object that the second does not show."""
    return group(model, pictures, frames=range(3), present=[[True, True], [True, False], [True, True]])


def test_a_session_as_shipped_gives_the_same_bits_for_more_work(
    model: Sam2, pictures: Pictures, references: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transformers takes ``run_mem_encoder=False`` without a word, and encodes a memory of each target all the same."""
    encoded: list[int] = []
    hook = model.network.spatial_perceiver.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))
    ours = masks_of(Sequential(model), references, pictures.targets[:3])
    by_ours = len(encoded)
    monkeypatch.delattr(EdgeTamNetwork, "_run_single_frame_inference")
    as_shipped = masks_of(Sequential(model), references, pictures.targets[:3])
    hook.remove()
    assert torch.equal(ours.logits, as_shipped.logits)
    assert torch.equal(ours.object_scores, as_shipped.object_scores)
    assert by_ours == 3 * 2, "each reference for each object"
    assert len(encoded) - by_ours == by_ours + 3 * 2, "and each target for each object"


def test_the_bank_holds_what_a_session_stores(model: Sam2, references: References) -> None:
    ours, theirs = spatial_memories(model, references)
    assert ours.shape == theirs.shape == (2, 3 * (LATENTS + OF_WINDOWS), 64)
    assert (ours - theirs).abs().max() < TOLERANCE * theirs.abs().max()
    rounded = ours.to(torch.bfloat16).float()
    assert (rounded - theirs).abs().max() > 10 * TOLERANCE * theirs.abs().max(), "SAM2's would be rounded"


@pytest.mark.slow
def test_in_bf16_the_bank_holds_what_a_session_stores(model: Sam2) -> None:
    """Positions are computed in the dtype of the features there, and enter memory itself."""
    if not usable_on_cpu(torch.bfloat16):
        pytest.skip("kills the process on this CPU")
    reduced = model.in_dtype("bf16")
    references = group(reduced, draw_pictures(reduced), frames=range(2), present=[[True, True], [True, False]])
    ours, theirs = spatial_memories(reduced, references)
    assert (ours != theirs).float().mean() < 0.01


def test_the_networks_own_perceiver_takes_one_memory_at_a_time(model: Sam2, references: References) -> None:
    perceiver = model.network.spatial_perceiver
    memories = references.features.embedding[:2, :64]
    with model.computing(), pytest.raises(RuntimeError, match="view"):
        perceiver(memories, torch.zeros_like(memories))


def test_latents_of_the_whole_memory_have_no_place_and_come_first(model: Sam2, references: References) -> None:
    cos, sin = model.memory_rotary(3)
    for memory in range(3):
        first = memory * (LATENTS + OF_WINDOWS)
        whole, windows = slice(first, first + LATENTS), slice(first + LATENTS, first + LATENTS + OF_WINDOWS)
        assert (cos[whole] == 1).all()
        assert (sin[whole] == 0).all()
        assert not (sin[windows] == 0).all()
    times = model.network.memory_temporal_positional_encoding[:, 0, 0]
    assert torch.equal(model.memory_position(0)[:LATENTS], times[-1].expand(LATENTS, -1))
    assert not torch.equal(model.memory_position(0)[LATENTS], times[-1])


def test_objects_of_a_batch_have_the_latents_that_each_has_alone(model: Sam2, references: References) -> None:
    def memory(references: References) -> Tensor:
        with model.computing():
            return build_memory_bank(model, references).memory

    first = memory(references.first_objects(1))
    assert (memory(references)[:1] - first).abs().max() < TOLERANCE * first.abs().max()


def test_a_bank_of_all_tokens_would_be_another_memory(
    model: Sam2, pictures: Pictures, references: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that does not own the stored memory would build it without complaint."""
    right = masks_of(Direct(model), references, pictures.targets[:3])
    kept = type(model).stored_memory

    def first_tokens(*arguments: Tensor) -> Tensor:
        tokens = Sam2.stored_memory(*arguments)
        return tokens[:, : kept(*arguments).shape[1]]

    monkeypatch.setattr(type(model), "stored_memory", first_tokens)
    wrong = masks_of(Direct(model), references, pictures.targets[:3])
    assert (wrong.ious - right.ious).abs().max() > 1e-3


def test_without_timm_the_published_model_says_what_to_install(model: Sam2, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(UnavailableError, match=r"model=edgetam needs the package timm, .*'sambatch\[edgetam\]'"):
        load_model("edgetam", weights="random")
    assert load_model(model.name).side == model.side, "the toy does not need it"


# --- weights -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(model: Sam2, tmp_path: Path) -> Path:
    """What save_pretrained writes of the network."""
    model.network.save_pretrained(tmp_path / "saved")
    return tmp_path / "saved"


def test_saved_weights_are_read(model: Sam2, folder: Path) -> None:
    found = load_model(EDGETAM_TOY, weights=str(folder)).network.state_dict()
    assert all(torch.equal(tensor, found[name]) for name, tensor in model.network.state_dict().items())


@pytest.mark.parametrize("name", ["spatial_perceiver.latents_1d", "memory_attention.layers.1.mlp.up_proj.weight"])
def test_a_missing_tensor_is_named(model: Sam2, folder: Path, name: str) -> None:
    change_weights(folder, lambda tensors: tensors.pop(name))
    assert f"(tensors: 1 missing, such as {name})" in refusal(model.name, weights=str(folder))


def test_latents_of_another_number_are_named(model: Sam2, folder: Path) -> None:
    change_weights(folder, lambda tensors: tensors.update({"spatial_perceiver.latents_2d": torch.zeros(4, 64)}))
    assert "1 of another shape, such as spatial_perceiver.latents_2d" in refusal(model.name, weights=str(folder))


ARITHMETIC = {
    "enable_temporal_pos_encoding_for_object_pointers": False,
    "enable_occlusion_spatial_embedding": False,
    "memory_attention_rope_k_sizes": [2, 8],
    "perceiver_resampler_num_attention_heads": 2,
    "max_cond_frame_num": 4,
}


@pytest.mark.parametrize("field", ARITHMETIC)
def test_a_field_that_changes_the_arithmetic_is_noticed(model: Sam2, folder: Path, field: str) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: ARITHMETIC[field]}))
    assert f"{field} is {ARITHMETIC[field]}, not " in refusal(model.name, weights=str(folder))


def test_other_families_do_not_take_each_others_weights(model: Sam2, folder: Path) -> None:
    assert "model_type is edgetam_video, not sam2_video" in refusal("toy", weights=str(folder))
    assert "model_type is sam2_video, not edgetam_video" in refusal(model.name, weights=str(sam2_folder(folder)))


def sam2_folder(folder: Path) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": "sam2_video"}))
    return folder
