"""Models by name: what `load_model` gives, and what it says where it can't."""

from __future__ import annotations

import pytest
import torch
from transformers import Sam2VideoModel

from strategies import MODELS, Direct, Sequential, load_model
from strategies.models.devices import usable_device
from strategies.models.sam2_family import VERSIONS, model_config, toy_config
from strategies.planted_faults.memory_bank import (
    BanksSwapped,
    MemoryTimeOffByOne,
    PointerPositionsMissing,
    PointersDropped,
)
from tests.support.models import assert_same_masks, draw_pictures, group, masks_of
from tests.support.weights import refusal


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("toi", "toy"), ("sam2.1_hiera_tinny", "sam2.1_hiera_tiny"), ("sam2_hiera_larg", "sam2_hiera_large")],
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
    assert refusal(weights="random", dtype="fp8") == "dtype=fp8 is not known; choose one of fp32, tf32, bf16, fp16"


def test_cuda_where_there_is_none_is_answered_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "use device=cpu" in refusal(weights="random", device="cuda:1")


@pytest.mark.parametrize("name", ["gpu", "cuda:one", "cuda:-1", ""])
def test_an_unknown_device_is_answered_with_those_that_there_are(name: str) -> None:
    assert refusal(weights="random", device=name) == f"device={name} is not known; use cpu, cuda or cuda:N"


def test_a_device_that_is_neither_cpu_nor_cuda_is_refused() -> None:
    assert refusal(device="meta") == "device=meta is not supported; use cpu, cuda or cuda:N"


def test_a_cuda_device_beyond_those_that_there_are_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert refusal(device="cuda:7") == (
        "device=cuda:7 is not here: torch finds cuda:0, cuda:1; use one of those, or device=cpu"
    )
    assert usable_device("cuda:1") == torch.device("cuda:1")
    assert usable_device("cuda") == torch.device("cuda")
    assert usable_device("cpu") == torch.device("cpu")


# --- random weights ---------------------------------------------------------------------------------------------------


def test_random_weights_are_the_same_for_the_same_seed_only() -> None:
    first, again, other = (load_model("toy", weights="random", seed=seed).network.state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not all(torch.equal(value, other[name]) for name, value in first.items())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_random_weights_open_some_gates_and_close_others_so_that_agreement_means_something(seed: int) -> None:
    drawn = load_model("toy", weights="random", seed=seed)
    pictures = draw_pictures(drawn)
    references = group(drawn, pictures, frames=(0, 1), present=[[True, True, False], [True, False, True]])
    masks = masks_of(Direct(drawn), references, pictures.targets)
    shown = masks.object_scores > 0
    assert shown.any()
    assert not shown.all()
    assert 0.01 < (masks.logits[shown] > 0).float().mean() < 0.99
    assert (masks.object_scores.std(dim=0) > 0.01).all(), "targets differ"
    assert (masks.object_scores.std(dim=1) > 0.001).all(), "and objects do, by what memory says of them"
    assert_same_masks(masks, masks_of(Sequential(drawn), references, pictures.targets))


def test_with_random_weights_memory_and_pointers_have_their_say() -> None:
    drawn = load_model("toy", weights="random")
    pictures = draw_pictures(drawn)
    references = group(drawn, pictures, frames=(0, 1, 2), present=[[True, True]] * 3)
    right = masks_of(Direct(drawn), references, pictures.targets).ious
    for wrong in (PointersDropped, PointerPositionsMissing, BanksSwapped, MemoryTimeOffByOne):
        assert (masks_of(wrong(drawn), references, pictures.targets).ious - right).abs().max() > 1e-4, wrong


def test_random_weights_leave_the_callers_random_state_alone() -> None:
    before = torch.get_rng_state()
    load_model("toy", weights="random", seed=5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_loaded_network_does_not_train() -> None:
    network = load_model("toy", weights="random").network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


# --- architectures ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("size", "published"), [("tiny", 38.9), ("small", 46.0), ("base_plus", 80.8), ("large", 224.4)]
)
def test_sam2_has_as_many_million_parameters_as_published(version: str, size: str, published: float) -> None:
    with torch.device("meta"):
        network = Sam2VideoModel(model_config(f"{version}_hiera_{size}"))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count // 100_000 / 10 == published
    assert network.image_size == 1024
    assert network.backbone_feature_sizes == [[256, 256], [128, 128], [64, 64]]


def test_the_toy_is_sam2_at_128_pixels_with_under_two_million_parameters() -> None:
    with torch.device("meta"):
        network = Sam2VideoModel(toy_config())
    assert network.image_size == 128
    assert round(sum(parameter.numel() for parameter in network.parameters()) / 1e6, 1) == 1.8
