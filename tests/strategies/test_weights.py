"""Weights of a model: what is read from a folder, the hub or the cache, and what is refused in one sentence."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub import utils as hub_utils
from torch import Tensor
from transformers import (
    EdgeTamVideoConfig,
    PreTrainedConfig,
    Sam2Config,
    Sam2VideoModel,
    Sam3TrackerVideoConfig,
    Sam3VideoConfig,
)
from transformers.utils import logging as transformers_logging

from strategies import Direct, Sam2, load_model
from strategies.models import loading
from strategies.models.sam2_family import FLAGS, SAM2, TOY_FOLDER, VERSIONS, model_config, toy_config
from tests.support.models import Pictures, group, masks_of
from tests.support.weights import change_weights, refusal


def test_weights_from_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    folder = str(tmp_path / "nowhere")
    assert f"model.weights={folder} is not a folder" in refusal(weights=folder)
    assert "model.weights= is not a folder" in refusal(weights="")


@pytest.mark.parametrize("name", ["toy", "sam2.1_hiera_tiny"])
def test_weights_from_an_empty_folder(tmp_path: Path, name: str) -> None:
    sentence = refusal(name, weights=str(tmp_path))
    assert f"the weights of model {name} can't be read from {tmp_path}" in sentence
    assert "model.weights=FOLDER" in sentence


def test_weights_saved_with_save_pretrained_are_read_from_their_folder(
    model: Sam2, pictures: Pictures, tmp_path: Path
) -> None:
    model.network.save_pretrained(tmp_path)
    loaded = load_model("toy", weights=str(tmp_path))
    references = group(model, pictures, frames=(0, 1), present=[[True, True, False], [True, False, True]])
    expected = masks_of(Direct(model), references, pictures.targets)
    masks = masks_of(Direct(loaded), references, pictures.targets)
    assert torch.equal(masks.logits, expected.logits)
    assert torch.equal(masks.object_scores, expected.object_scores)
    assert torch.equal(masks.ious, expected.ious)
    assert torch.equal(
        loaded.encode_pixels(pictures.pixels[:2]).embedding, model.encode_pixels(pictures.pixels[:2]).embedding
    )


@pytest.mark.parametrize("weights", ["shipped", "folder", "random"])
def test_tensors_lie_in_memory_of_torchs_own(
    model: Sam2, tmp_path: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's memory is aligned as the file is, and by alignment small products have other bits."""
    borrowed: list[Tensor] = []

    def spied(name: str) -> None:
        make = getattr(loading, name)

        def made(*arguments: Any, **named: Any) -> Sam2VideoModel:
            network = make(*arguments, **named)
            borrowed.extend(tensor.data for tensor in (*network.parameters(), *network.buffers()))
            return network

        monkeypatch.setattr(loading, name, made)

    for name in ("shipped", "pretrained", "_drawn"):
        spied(name)
    model.network.save_pretrained(tmp_path)
    loaded = load_model("toy", weights={"shipped": None, "folder": str(tmp_path), "random": "random"}[weights])
    tensors = [*loaded.network.parameters(), *loaded.network.buffers()]
    assert len(tensors) == len(borrowed) > 100
    assert not {tensor.data_ptr() for tensor in tensors} & {tensor.data_ptr() for tensor in borrowed}
    assert all(tensor.data_ptr() % 64 == 0 for tensor in tensors)


@pytest.fixture
def toy_folder(model: Sam2, tmp_path: Path) -> Path:
    """What save_pretrained writes of a toy."""
    folder = tmp_path / "saved"
    model.network.save_pretrained(folder)
    return folder


NORM = "memory_attention.layer_norm.weight"


def test_weights_that_lack_a_tensor_are_refused(toy_folder: Path) -> None:
    change_weights(toy_folder, lambda tensors: tensors.pop(NORM))
    sentence = refusal(weights=str(toy_folder))
    assert f"the weights of model toy in {toy_folder} are not complete (tensors: 1 missing, such as {NORM})" in sentence
    assert "model.weights=FOLDER" in sentence


def test_a_tensor_of_another_shape_is_refused(toy_folder: Path) -> None:
    change_weights(toy_folder, lambda tensors: tensors.update({NORM: torch.zeros(3)}))
    assert f"1 of another shape, such as {NORM}" in refusal(weights=str(toy_folder))


def test_a_tensor_that_the_network_does_not_have_is_left_out(toy_folder: Path) -> None:
    change_weights(toy_folder, lambda tensors: tensors.update(optimizer=torch.zeros(3)))
    assert load_model("toy", weights=str(toy_folder)).side == 128


def test_weights_saved_in_another_dtype_are_read_as_fp32(toy_folder: Path) -> None:
    change_weights(toy_folder, lambda tensors: tensors.update({name: t.half() for name, t in tensors.items()}))
    network = load_model("toy", weights=str(toy_folder)).network
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_weights_that_are_no_numbers_are_refused(toy_folder: Path) -> None:
    change_weights(toy_folder, lambda tensors: tensors[min(tensors)].view(-1)[:1].fill_(float("nan")))
    assert "hold NaN or infinities (tensors: 1, such as" in refusal(weights=str(toy_folder))


def test_the_shipped_folder_may_be_named_too() -> None:
    named, usual = (load_model("toy", weights=weights).network.state_dict() for weights in (str(TOY_FOLDER), None))
    assert all(bool((named[name] == tensor).all()) for name, tensor in usual.items())


def test_a_pickle_is_refused_without_advice_to_trust_it(toy_folder: Path) -> None:
    (toy_folder / "model.safetensors").unlink()
    with (toy_folder / "pytorch_model.bin").open("wb") as file:
        pickle.dump({"weights": print}, file)
    sentence = refusal(weights=str(toy_folder))
    assert "weights_only" not in sentence
    assert "safetensors" in sentence


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_truncated_file_of_weights_is_refused(toy_folder: Path) -> None:
    cut(toy_folder / "model.safetensors")
    assert f"the weights of model toy can't be read from {toy_folder}" in refusal(weights=str(toy_folder))


def test_the_toys_own_weights_where_they_are_truncated(toy_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut(toy_folder / "model.safetensors")
    monkeypatch.setitem(SAM2.shipped, "toy", toy_folder / "model.safetensors")
    assert f"the weights of model toy can't be read from {toy_folder}" in refusal()


def test_weights_without_a_config_are_refused(toy_folder: Path) -> None:
    """transformers would take the tiny model's configuration for them."""
    (toy_folder / "config.json").unlink()
    assert f"can't be read from {toy_folder} (it holds no config.json)" in refusal(weights=str(toy_folder))


@pytest.mark.parametrize("content", ["", "{", "[]", "7", '{"vision_config": 3}', '{"image_size": "large"}'])
def test_a_broken_config_is_refused(toy_folder: Path, content: str) -> None:
    (toy_folder / "config.json").write_text(content)
    assert str(toy_folder) in refusal(weights=str(toy_folder))


@pytest.mark.parametrize("content", ["[]", "null", '"sam2_video"'])
def test_a_config_that_is_no_object_is_called_that(toy_folder: Path, content: str) -> None:
    (toy_folder / "config.json").write_text(content)
    assert f"can't be read from {toy_folder} (its config.json is no JSON object)" in refusal(weights=str(toy_folder))


def test_weights_of_another_model_are_answered_with_its_name(toy_folder: Path) -> None:
    sentence = refusal("sam2.1_hiera_tiny", weights=str(toy_folder))
    assert f"the weights in {toy_folder} are not those of model sam2.1_hiera_tiny" in sentence
    assert "image_size is 128, not 1024" in sentence
    assert "use model=toy with it" in sentence


def test_weights_of_no_known_model_are_answered_with_what_differs(toy_folder: Path) -> None:
    path = toy_folder / "config.json"
    config = json.loads(path.read_text())
    config["vision_config"]["backbone_config"]["blocks_per_stage"] = [1, 1, 1, 1]
    path.write_text(json.dumps(config))
    sentence = refusal(weights=str(toy_folder))
    assert "(blocks_per_stage is [1, 1, 1, 1], not " in sentence
    assert "give another folder as model.weights=FOLDER" in sentence


@pytest.fixture(scope="module", params=VERSIONS)
def published_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What save_pretrained writes of a model of one version with the smallest encoder, and its name."""
    name = f"{request.param}_hiera_tiny"
    folder = tmp_path_factory.mktemp(name)
    Sam2VideoModel(model_config(name)).save_pretrained(folder)
    return name, folder


@pytest.mark.slow
def test_weights_of_either_version_are_read_under_its_name(published_folder: tuple[str, Path]) -> None:
    name, folder = published_folder
    loaded = load_model(name, weights=str(folder))
    assert loaded.name == name
    assert loaded.depends_on_time is (name == "sam2.1_hiera_tiny")


@pytest.mark.slow
def test_weights_of_the_other_version_are_answered_with_its_name(published_folder: tuple[str, Path]) -> None:
    """Their tensors would load without complaint: those that the other has besides are not reported."""
    name, folder = published_folder
    other = next(each for each in ("sam2.1_hiera_tiny", "sam2_hiera_tiny") if each != name)
    sentence = refusal(other, weights=str(folder))
    assert f"the weights in {folder} are not those of model {other} (" in sentence
    assert all(f"{flag} is {name.startswith('sam2.1')}" in sentence for flag in FLAGS)
    assert f"use model={name} with it" in sentence


@pytest.mark.slow
@pytest.mark.parametrize("published_folder", ["sam2.1"], indirect=True)
@pytest.mark.parametrize("flags", [FLAGS[:1], FLAGS[1:], FLAGS])
def test_a_config_that_denies_tensors_of_its_folder_is_refused(
    published_folder: tuple[str, Path], tmp_path: Path, flags: tuple[str, ...]
) -> None:
    """transformers reports none of them as unexpected; without them the masks are others."""
    folder = shutil.copytree(published_folder[1], tmp_path / "weights")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | dict.fromkeys(flags, False)))
    sentence = refusal("sam2_hiera_tiny", weights=str(folder))
    if flags == FLAGS:
        assert f"{folder} are not those of model sam2_hiera_tiny (" in sentence
        assert "_positional_encoding_projection_layer" in sentence or "occlusion_spatial_embedding_par" in sentence
        assert "is False in their config.json" in sentence
    else:
        assert "is True, not False" in sentence


OTHER_FAMILIES = (Sam3VideoConfig, Sam3TrackerVideoConfig, EdgeTamVideoConfig, Sam2Config)


@pytest.mark.parametrize("family", OTHER_FAMILIES, ids=lambda family: family.model_type)
def test_weights_of_another_family_are_refused_by_its_name(toy_folder: Path, family: type[PreTrainedConfig]) -> None:
    """`Sam2VideoConfig` reads their configs without complaint, and takes its defaults for what it does not find."""
    path = toy_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"model_type": family.model_type}))
    sentence = refusal(weights=str(toy_folder))
    assert f"the weights in {toy_folder} are of another family than model toy" in sentence
    assert f"model_type is {family.model_type}, not sam2_video" in sentence
    assert "model.weights=FOLDER" in sentence


def test_a_folder_of_another_family_as_it_saves_itself_is_refused(tmp_path: Path) -> None:
    Sam3TrackerVideoConfig().save_pretrained(tmp_path)
    assert "model_type is sam3_tracker_video, not sam2_video" in refusal("sam2.1_hiera_tiny", weights=str(tmp_path))


def test_a_config_that_names_no_family_is_refused(toy_folder: Path) -> None:
    path = toy_folder / "config.json"
    fields = json.loads(path.read_text())
    del fields["model_type"]
    path.write_text(json.dumps(fields))
    assert "model_type is None, not sam2_video" in refusal(weights=str(toy_folder))


ARITHMETIC = {
    "max_cond_frame_num": 4,
    "num_maskmem": 5,
    "max_object_pointers_in_encoder": 8,
    "sigmoid_scale_for_mem_enc": 10.0,
    "sigmoid_bias_for_mem_enc": -5.0,
    "multimask_min_pt_num": 1,
    "memory_attention_rope_feat_sizes": [4, 16],
    "memory_attention_num_attention_heads": 2,
    "memory_attention_feed_forward_hidden_act": "gelu",
}


@pytest.mark.slow
@pytest.mark.parametrize("field", ARITHMETIC)
def test_a_field_that_changes_the_arithmetic_but_no_tensor_is_noticed(toy_folder: Path, field: str) -> None:
    path = toy_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: ARITHMETIC[field]}))
    assert f"({field} is {ARITHMETIC[field]}, not " in refusal(weights=str(toy_folder))


def test_fields_that_change_no_mask_may_differ(toy_folder: Path) -> None:
    path = toy_folder / "config.json"
    fields = json.loads(path.read_text()) | {"memory_attention_dropout": 0.3, "initializer_range": 0.5}
    path.write_text(json.dumps(fields))
    assert load_model("toy", weights=str(toy_folder)).name == "toy"


def test_a_config_of_before_transformers_5_is_read(toy_folder: Path) -> None:
    """The published ones are such: they hold the base of the rotary encoding under a name of its own."""
    path = toy_folder / "config.json"
    fields = json.loads(path.read_text())
    fields["memory_attention_rope_theta"] = int(fields.pop("rope_parameters")["rope_theta"])
    path.write_text(json.dumps(fields))
    assert load_model("toy", weights=str(toy_folder)).name == "toy"
    fields["memory_attention_rope_theta"] = 500
    path.write_text(json.dumps(fields))
    assert "rope_parameters is " in refusal(weights=str(toy_folder))


@pytest.mark.parametrize("bars", [True, False])
def test_loading_prints_nothing_and_leaves_the_loggers_as_they_were(
    toy_folder: Path, capfd: pytest.CaptureFixture[str], bars: bool
) -> None:
    loggers = (transformers_logging, hub_utils.logging)
    before = [logger.get_verbosity() for logger in loggers]
    shown = transformers_logging.is_progress_bar_enabled()
    try:
        (transformers_logging.enable_progress_bar if bars else transformers_logging.disable_progress_bar)()
        change_weights(toy_folder, lambda tensors: tensors.update(optimizer=torch.zeros(3)))  # would be warned about
        load_model("toy", weights=str(toy_folder))
        assert transformers_logging.is_progress_bar_enabled() is bars
        assert hub_utils.are_progress_bars_disabled() is not bars
    finally:
        (transformers_logging.enable_progress_bar if shown else transformers_logging.disable_progress_bar)()
    assert [logger.get_verbosity() for logger in loggers] == before
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint on this machine, whatever its user has downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_is_switched_off_is_answered_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_shows_the_way_out(refusal("sam2.1_hiera_tiny"))


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_out_of_reach_is_answered_with_the_way_out_at_once(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    closed_port = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", closed_port)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", closed_port + "/{repo_id}/resolve/{revision}/{filename}"
    )
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)  # the hub's client waits between its attempts
    assert_shows_the_way_out(refusal("sam2.1_hiera_tiny"))
    assert waited == []
    assert capfd.readouterr() == ("", "")


def test_a_published_checkpoint_in_the_cache_is_read_without_asking_the_hub(
    model: Sam2, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toy takes the place of a checkpoint, whose download no test can make."""
    cache = tmp_path / "hub" / "models--facebook--sam2.1-hiera-tiny"
    commit = "0" * 40
    model.network.save_pretrained(cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("strategies.models.sam2_family.sam2_config", lambda version, size: toy_config())

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("the hub was asked")

    monkeypatch.setattr("socket.socket.connect", asked)
    loaded = load_model("sam2.1_hiera_tiny")
    assert loaded.name == "sam2.1_hiera_tiny"
    expected = model.network.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.network.state_dict().items())


def assert_shows_the_way_out(sentence: str) -> None:
    assert "the weights of model sam2.1_hiera_tiny can't be read from facebook/sam2.1-hiera-tiny" in sentence
    assert "model.weights=FOLDER" in sentence
    assert "model.weights=random" in sentence
