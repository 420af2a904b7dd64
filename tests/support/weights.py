"""What tests of loading share: the sentence of a refusal, and changed weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from strategies import UserError, load_model


def refusal(name: str = "toy", **options: str) -> str:
    """The sentence of the UserError that loading ends in."""
    with pytest.raises(UserError) as error:
        load_model(name, **options)  # type: ignore[arg-type]
    sentence = str(error.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})
