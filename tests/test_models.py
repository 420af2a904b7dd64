"""Models by name: what `load_model` gives, and what it says where it can't."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from transformers import Sam2VideoModel

from strategies import MODELS, Direct, Sam2, UserError, load_model
from strategies.models.configs import sam21_config, toy_config
from tests.models import Pictures, group, masks_of


def refusal(name: str = "toy", **options: str) -> str:
    """The sentence of the UserError that loading ends in."""
    with pytest.raises(UserError) as error:
        load_model(name, **options)  # type: ignore[arg-type]
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


# --- names and options -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("toi", "toy"), ("sam2.1_hiera_tinny", "sam2.1_hiera_tiny"), ("sam2_hiera_large", "sam2.1_hiera_large")],
)
def test_an_unknown_name_is_answered_with_the_nearest_one(typed: str, meant: str) -> None:
    sentence = refusal(typed)
    assert f"model={typed} is not known; did you mean {meant}?" in sentence
    assert all(name in sentence for name in MODELS)


def test_a_name_that_is_near_to_none_is_answered_with_all() -> None:
    sentence = refusal("resnet50")
    assert "did you mean" not in sentence
    assert all(name in sentence for name in MODELS)


def test_an_unknown_dtype_is_answered_with_those_that_exist() -> None:
    assert refusal(weights="random", dtype="fp8") == "dtype=fp8 is not known; choose one of fp32, bf16, fp16"


def test_cuda_where_there_is_none_is_answered_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "use device=cpu" in refusal(weights="random", device="cuda:1")


# --- weights ---------------------------------------------------------------------------------------------------------


def test_weights_from_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    folder = str(tmp_path / "nowhere")
    assert f"model.weights={folder} is not a folder" in refusal(weights=folder)


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
    assert torch.equal(
        loaded.encode_pixels(pictures.pixels[:2]).embedding, model.encode_pixels(pictures.pixels[:2]).embedding
    )


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No checkpoint on this machine, whatever its user has downloaded."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_is_switched_off_is_answered_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert_shows_the_way_out(refusal("sam2.1_hiera_tiny"))


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_out_of_reach_is_answered_with_the_way_out_within_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert sum(waited) < 30


def assert_shows_the_way_out(sentence: str) -> None:
    assert "the weights of model sam2.1_hiera_tiny can't be read from facebook/sam2.1-hiera-tiny" in sentence
    assert "model.weights=FOLDER" in sentence
    assert "model.weights=random" in sentence


# --- random weights --------------------------------------------------------------------------------------------------


def test_random_weights_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = (load_model("toy", weights="random", seed=seed).network.state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


def test_random_weights_leave_the_callers_random_state_alone() -> None:
    before = torch.get_rng_state()
    load_model("toy", weights="random", seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_network_does_not_train() -> None:
    network = load_model("toy", weights="random").network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


# --- architectures ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "published"), [("tiny", 38.9), ("small", 46.0), ("base_plus", 80.8), ("large", 224.4)]
)
def test_sam21_has_as_many_million_parameters_as_published(size: str, published: float) -> None:
    with torch.device("meta"):
        network = Sam2VideoModel(sam21_config(size))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count // 100_000 / 10 == published
    assert network.image_size == 1024
    assert network.backbone_feature_sizes == [[256, 256], [128, 128], [64, 64]]


def test_the_toy_is_sam2_at_128_pixels_with_under_two_million_parameters() -> None:
    with torch.device("meta"):
        network = Sam2VideoModel(toy_config())
    assert network.image_size == 128
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == 1.8
