"""Memory attention of the session and of `direct`, layer by layer, against an oracle that shares no code with them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from strategies import References, Sam2, Sequential
from strategies.components.memory_attention import condition_per_pair, condition_shared, project_bank
from strategies.components.memory_bank import MemoryBank
from strategies.models.sam2_family import VERSIONS
from tests.support.models import EDGETAM_TOY, TWINS, Pictures, draw_pictures, group, lively, lively_model
from tests.support.oracle import Array, MemoryAttention

pytestmark = pytest.mark.slow

TARGETS, OBJECTS = 2, 3
MEMORIES = {EDGETAM_TOY: (8, (4, 4))}
"""Of models whose memories are no grid of image tokens: how many latents have no place, and the grid of the others."""
LAYERS = 2
TOLERANCE = 1e-5
"""fp32 against float64, relative to the largest value; 1e-6 was observed."""


@pytest.fixture(scope="module", params=[*VERSIONS, *TWINS])
def model(request: pytest.FixtureRequest) -> Sam2:
    """The lively network of either version of SAM2 or of another family, in place of the one that all tests share."""
    return lively_model(version=request.param) if request.param in VERSIONS else lively(request.param)


@pytest.fixture(scope="module")
def pictures(model: Sam2) -> Pictures:
    return draw_pictures(model)


@pytest.fixture(scope="module")
def references(model: Sam2, pictures: Pictures) -> References:
    present = [[True] * OBJECTS, [True, False, True], [True] * OBJECTS]
    return group(model, pictures, frames=[0, 3, 5], present=present)


@contextmanager
def first_layers(model: Sam2, count: int) -> Iterator[None]:
    """The network with only its first ``count`` layers of memory attention."""
    attention = model.network.memory_attention
    every = attention.layers
    attention.layers = nn.ModuleList(every[:count])
    try:
        yield
    finally:
        attention.layers = every


def session_calls(model: Sam2, references: References, pictures: Pictures) -> list[tuple[dict[str, Any], Tensor]]:
    """Return inputs and outputs of the session's memory attention, for each (target, object) in this order."""
    calls: list[tuple[dict[str, Any], Tensor]] = []
    with Sequential(model) as strategy:
        strategy.prepare(references)
        hook = model.network.memory_attention.register_forward_hook(
            lambda _module, _inputs, given, output: calls.append((given, output)), with_kwargs=True
        )
        try:
            strategy.predict(pictures.targets[:TARGETS])
        finally:
            hook.remove()
    return calls


def remembered(calls: list[tuple[dict[str, Any], Tensor]]) -> MemoryBank:
    """The session's memory of all objects, so that no value that it rounded to bf16 can be rounded otherwise."""
    given = [given for given, _ in calls[:OBJECTS]]
    return MemoryBank(
        memory=torch.stack([each["memory"][:, 0] for each in given]),
        position=given[0]["memory_posision_embeddings"].transpose(0, 1),
        pointer_tokens=given[0]["num_object_pointer_tokens"],
    )


def oracle_output(model: Sam2, given: dict[str, Any], layers: int) -> Array:
    height, width = model.network.backbone_feature_sizes[-1]
    unturned, on_grid = MEMORIES.get(model.name, (0, (height, width)))
    oracle = MemoryAttention.of(
        model.network.memory_attention,
        grid=(height, width),
        memory_grid=on_grid,
        unturned=unturned,
        layers=layers,
    )

    def tokens(name: str) -> Array:
        values: Tensor = given[name]
        return values[:, 0].double().numpy()

    return oracle(
        tokens("current_vision_features"),
        tokens("current_vision_position_embeddings"),
        tokens("memory"),
        tokens("memory_posision_embeddings"),
        pointers=given["num_object_pointer_tokens"],
    )


def error(actual: Tensor, expected: Array) -> float:
    found = actual.double().numpy().reshape(expected.shape)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("layers", range(1, LAYERS + 1))
def test_the_session_computes_what_the_oracle_does(
    model: Sam2, references: References, pictures: Pictures, layers: int
) -> None:
    with first_layers(model, layers):
        calls = session_calls(model, references, pictures)
        assert len(calls) == TARGETS * OBJECTS
        for given, output in calls:
            assert error(output, oracle_output(model, given, layers)) <= TOLERANCE


@pytest.mark.parametrize("way", ["shared", "expand", "repeat"])
@pytest.mark.parametrize("layers", range(1, LAYERS + 1))
def test_direct_computes_what_the_oracle_does_with_what_the_session_remembers(
    model: Sam2, references: References, pictures: Pictures, layers: int, way: str
) -> None:
    with first_layers(model, layers), model.computing():
        calls = session_calls(model, references, pictures)
        bank = remembered(calls)
        embedding = pictures.targets.embedding[:TARGETS]
        if way == "shared":
            outputs = condition_shared(model, embedding, project_bank(model, bank))
        else:
            outputs = condition_per_pair(model, embedding, bank, copies=way == "repeat")
        outputs = outputs.unflatten(0, (OBJECTS, TARGETS))
        for index, (given, _) in enumerate(calls):
            target, of_object = divmod(index, OBJECTS)
            tokens = outputs[of_object, target].flatten(1).T
            assert error(tokens, oracle_output(model, given, layers)) <= TOLERANCE


@pytest.mark.parametrize("fault", ["angles", "pointers", "input", "values", "layers"])
def test_the_oracle_would_notice(
    model: Sam2, references: References, pictures: Pictures, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the things that papers leave out matters by far more than the tolerance."""
    given, output = session_calls(model, references, pictures)[0]
    layers, changed = LAYERS, dict(given)
    match fault:
        case "angles":
            monkeypatch.setattr(MemoryAttention, "_turned", lambda _self, tokens, _grid: tokens)
        case "pointers":
            changed["num_object_pointer_tokens"] = 0
            changed["memory"] = given["memory"][: -given["num_object_pointer_tokens"]]
            changed["memory_posision_embeddings"] = given["memory_posision_embeddings"][
                : -given["num_object_pointer_tokens"]
            ]
        case "input":
            changed["current_vision_position_embeddings"] = 10 * given["current_vision_position_embeddings"]
        case "values":
            changed["memory"] = given["memory"] + given["memory_posision_embeddings"]
            changed["memory_posision_embeddings"] = torch.zeros_like(given["memory_posision_embeddings"])
        case "layers":
            layers -= 1
    assert error(output, oracle_output(model, changed, layers)) > 100 * TOLERANCE
