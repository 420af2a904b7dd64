"""Weights of other families than SAM2: what is read of which folder, and what is refused.

The folders are small ones, written by transformers itself, whose networks save their tensors under names of their own.
What holds for all families is in test_weights.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    CLIPTextConfig,
    EdgeTamVideoConfig,
    PreTrainedConfig,
    Sam2VideoConfig,
    Sam3Config,
    Sam3TrackerConfig,
    Sam3TrackerVideoModel,
    Sam3VideoConfig,
    Sam3VideoModel,
)
from transformers.models.sam3.configuration_sam3 import (
    Sam3DETRDecoderConfig,
    Sam3DETREncoderConfig,
    Sam3GeometryEncoderConfig,
    Sam3MaskDecoderConfig,
)

from strategies import load_model
from strategies.models.sam3_tracker_family import WIDTH, toy_config
from tests.support.models import SAM3_TRACKER_TOY
from tests.support.weights import change_weights, refusal

NARROW = {"hidden_size": WIDTH, "num_attention_heads": 2}
SMALL = {**NARROW, "num_layers": 1, "intermediate_size": 16}


def video_config() -> Sam3VideoConfig:
    """The smallest `sam3_video`: the toy's tracker, and a detector with the same image encoder."""
    text = CLIPTextConfig(
        vocab_size=8,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=8,
        projection_dim=16,
        bos_token_id=0,
        eos_token_id=1,
    )
    detector = Sam3Config(
        vision_config=toy_config().vision_config,
        text_config=text,
        geometry_encoder_config=Sam3GeometryEncoderConfig(**SMALL),
        detr_encoder_config=Sam3DETREncoderConfig(**SMALL),
        detr_decoder_config=Sam3DETRDecoderConfig(**SMALL, num_queries=2),
        mask_decoder_config=Sam3MaskDecoderConfig(**NARROW),
    )
    return Sam3VideoConfig(detector_config=detector, tracker_config=toy_config())


LAYOUTS = ("of a tracker", "of a whole sam3_video", "as published")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each layout; they hold the same tracker."""
    root = tmp_path_factory.mktemp("sam3")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        whole = Sam3VideoModel(video_config())
    whole.save_pretrained(root / "of a whole sam3_video")
    shutil.copytree(root / "of a whole sam3_video", root / "as published")
    save_file(whole.state_dict(), root / "as published" / "model.safetensors", metadata={"format": "pt"})
    Sam3TrackerVideoModel.from_pretrained(root / "as published", config=toy_config()).save_pretrained(
        root / "of a tracker"
    )
    return root


@pytest.fixture(params=LAYOUTS)
def folder(request: pytest.FixtureRequest, written: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    copied: Path = shutil.copytree(written / request.param, tmp_path / "weights")
    return copied


def change_tracker(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the tracker's configuration, wherever the file has it."""
    path = folder / "config.json"
    fields = json.loads(path.read_text())
    change(fields.get("tracker_config", fields))
    path.write_text(json.dumps(fields))


def test_the_tracker_is_read_wherever_it_is(folder: Path, written: Path) -> None:
    expected = load_file(written / "as published" / "model.safetensors")
    found = load_model(SAM3_TRACKER_TOY, weights=str(folder)).network.state_dict()
    assert len(found) > 300
    assert all(torch.equal(tensor, expected[published_name(name)]) for name, tensor in found.items())


def published_name(name: str) -> str:
    """The name that a tensor of the tracker has in the published file."""
    if name.startswith("vision_encoder.backbone."):
        return f"detector_model.{name}"
    if name.startswith("vision_encoder.neck."):
        return name.replace("vision_encoder.neck.", "tracker_neck.")
    return f"tracker_model.{name}"


@pytest.mark.parametrize(
    "name", ["memory_attention.layer_norm.weight", "fpn_layers.2.proj1.bias", "layers.1.mlp.fc1.bias"]
)
def test_a_tensor_that_is_missing_is_named(folder: Path, name: str) -> None:
    """Of the tracker itself, of its neck, and of the image encoder that it shares with the detector."""

    def without(tensors: dict[str, Tensor]) -> None:
        for key in [key for key in tensors if key.endswith(name) and "detector_model.vision_encoder.neck" not in key]:
            del tensors[key]

    change_weights(folder, without)
    sentence = refusal(SAM3_TRACKER_TOY, weights=str(folder))
    assert (
        f"the weights of model {SAM3_TRACKER_TOY} in {folder} are not complete (tensors: 1 missing, such as "
        in sentence
    )
    assert name in sentence


def test_a_tensor_of_another_shape_is_named(folder: Path) -> None:
    def cut(tensors: dict[str, Tensor]) -> None:
        (key,) = (key for key in tensors if key.endswith("memory_temporal_positional_encoding"))
        tensors[key] = tensors[key][:5].clone()

    change_weights(folder, cut)
    assert "1 of another shape, such as memory_temporal_positional_encoding" in refusal(
        SAM3_TRACKER_TOY, weights=str(folder)
    )


def test_pickled_weights_are_refused(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(tensors, folder / "pytorch_model.bin")
    assert "safetensors" in refusal(SAM3_TRACKER_TOY, weights=str(folder))


ARITHMETIC: dict[str, Any] = {
    "max_cond_frame_num": -1,
    "num_maskmem": 5,
    "max_object_pointers_in_encoder": 8,
    "enable_temporal_pos_encoding_for_object_pointers": False,
    "enable_occlusion_spatial_embedding": False,
    "sigmoid_bias_for_mem_enc": -5.0,
    "memory_attention_num_attention_heads": 2,
    "image_size": 224,
}
OF_THE_ENCODER: dict[str, Any] = {"window_size": 8, "global_attn_indexes": [2], "num_attention_heads": 1}


@pytest.mark.parametrize("field", ARITHMETIC)
def test_a_field_that_changes_the_arithmetic_is_noticed(folder: Path, field: str) -> None:
    change_tracker(folder, lambda fields: fields.update({field: ARITHMETIC[field]}))
    assert f"{field} is {ARITHMETIC[field]}, not " in refusal(SAM3_TRACKER_TOY, weights=str(folder))


@pytest.mark.parametrize("field", OF_THE_ENCODER)
def test_a_field_of_the_encoder_is_noticed(folder: Path, field: str) -> None:
    change_tracker(
        folder, lambda fields: fields["vision_config"]["backbone_config"].update({field: OF_THE_ENCODER[field]})
    )
    assert f"{field} is {OF_THE_ENCODER[field]}, not " in refusal(SAM3_TRACKER_TOY, weights=str(folder))


def test_another_base_of_the_rotary_encoding_is_noticed(folder: Path) -> None:
    change_tracker(folder, lambda fields: fields["rope_parameters"].update(rope_theta=500))
    assert "rope_parameters is " in refusal(SAM3_TRACKER_TOY, weights=str(folder))


def test_a_config_of_before_transformers_5_is_read(folder: Path) -> None:
    """It holds the bases of both rotary encodings under names of their own."""

    def as_before(fields: dict[str, Any]) -> None:
        encoder = fields["vision_config"]["backbone_config"]
        fields["memory_attention_rope_theta"] = int(fields.pop("rope_parameters")["rope_theta"])
        encoder["rope_theta"] = encoder.pop("rope_parameters")["rope_theta"]

    change_tracker(folder, as_before)
    assert load_model(SAM3_TRACKER_TOY, weights=str(folder)).side == 112
    change_tracker(folder, lambda fields: fields.update(memory_attention_rope_theta=500))
    assert "rope_parameters is " in refusal(SAM3_TRACKER_TOY, weights=str(folder))


def test_fields_that_change_no_mask_may_differ(folder: Path) -> None:
    change_tracker(folder, lambda fields: fields.update(memory_attention_dropout=0.0, initializer_range=0.5))
    assert load_model(SAM3_TRACKER_TOY, weights=str(folder)).side == 112


def test_the_toys_weights_under_the_published_name_are_answered_with_the_toys(folder: Path) -> None:
    sentence = refusal("sam3_tracker", weights=str(folder))
    assert "memory_attention_num_layers is 2, not 4" in sentence
    assert f"use model={SAM3_TRACKER_TOY} with it" in sentence


def test_sam2_does_not_take_them(folder: Path) -> None:
    assert "of another family than model toy (model_type is sam3_" in refusal("toy", weights=str(folder))


@pytest.mark.parametrize(
    "other", [Sam2VideoConfig, EdgeTamVideoConfig, Sam3TrackerConfig, Sam3Config], ids=lambda it: it.model_type
)
def test_folders_of_other_families_are_refused(tmp_path: Path, other: type[PreTrainedConfig]) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": other.model_type}))
    sentence = refusal(SAM3_TRACKER_TOY, weights=str(tmp_path))
    assert f"model_type is {other.model_type}, not sam3_tracker_video" in sentence
    assert "give a folder of SAM3 tracker weights as model.weights=FOLDER" in sentence


@pytest.mark.parametrize("section", [None, {"model_type": "sam2_video"}], ids=["no tracker", "another tracker"])
def test_a_sam3_video_without_its_tracker_is_refused(tmp_path: Path, section: dict[str, str] | None) -> None:
    fields = {"model_type": "sam3_video"} | ({} if section is None else {"tracker_config": section})
    (tmp_path / "config.json").write_text(json.dumps(fields))
    assert "of another family than model" in refusal(SAM3_TRACKER_TOY, weights=str(tmp_path))


def test_the_twin_is_always_the_same_but_where_another_seed_is_asked_for() -> None:
    twin, again, other = (
        load_model(SAM3_TRACKER_TOY, weights=weights, seed=seed).network.state_dict()
        for weights, seed in ((None, 1), (None, 2), ("random", 1))
    )
    assert all(torch.equal(tensor, again[name]) for name, tensor in twin.items())
    assert not all(torch.equal(tensor, other[name]) for name, tensor in twin.items())
