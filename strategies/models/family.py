"""A family of models: what loading has to know of it. What strategies have to know is in its `Tracker`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import PreTrainedConfig, PreTrainedModel

from strategies.models.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class Family:
    """Models of one kind of network, which differ in their configuration and weights.

    title: what people call it. names: of its models, as in ``model=NAME``.
    config: the class of its configurations, whose ``model_type`` tells its weights from those of other families.
    network: the class of its networks. tracker: makes the adapter of one, given ``name``, ``device`` and ``dtype``.
    architecture: the configuration of a model, by name.
    repository: where the hub has the weights of a model, by name.
    shipped: the files of weights that come with this project, by the name of the model.
    drawn: the models that have no trained weights, which are drawn from one seed.
    within: the ``model_type`` of configurations that hold one of the family's, and the section that it is in. HF's
    network knows the names that its tensors have there.
    packages: what a model needs besides the project's own dependencies; there is an extra of the model's name.
    no_effect: fields of the configuration that change no mask, by dotted path.
    switched: by a part of a tensor's name, the field of the configuration that says whether the network has it.
    spread: draws the weights of a network anew, so that every part of it changes the masks.
    centre: shifts the heads of such a model, in fp32, so that some gates open and others close.
    """

    title: str
    names: tuple[str, ...]
    config: type[PreTrainedConfig]
    network: type[PreTrainedModel]
    tracker: Callable[..., Tracker]
    architecture: Callable[[str], PreTrainedConfig]
    repository: Callable[[str], str]
    shipped: Mapping[str, Path] = field(default_factory=dict)
    drawn: frozenset[str] = frozenset()
    within: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    no_effect: frozenset[str] = frozenset()
    switched: Mapping[str, str] = field(default_factory=dict)
    spread: Callable[[Any], None]
    centre: Callable[[Any], None]
