"""The models that strategies run, by name."""

from __future__ import annotations

import difflib
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import Sam2VideoConfig, Sam2VideoModel
from transformers.utils import logging as transformers_logging

from strategies.errors import UserError
from strategies.models.configs import HIERA, TOY_FOLDER, sam21_config, toy_config
from strategies.models.sam2 import Sam2

MODELS = ("toy", *(f"sam2.1_hiera_{size}" for size in HIERA))


def load_model(
    name: str = "toy", *, weights: str | None = None, device: str = "cpu", dtype: str = "fp32", seed: int = 0
) -> Sam2:
    """A model by its name, ready to predict.

    weights: None takes the toy's shipped weights or the published checkpoint from the hub's cache or the hub; a folder
    is read with ``from_pretrained``; ``random`` keeps the real architecture with weights drawn from ``seed``, for
    measuring speed without a download.
    Raises UserError where the name is unknown, or the device or the weights can't be had.
    """
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UserError(f"model={name} is not known; {hint}valid: {', '.join(MODELS)}")
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device={device} is not here: torch finds no CUDA device; use device=cpu")
    network = _network(name, weights, seed).eval()
    network.requires_grad_(False)
    return Sam2(network, name=name, device=device, dtype=dtype)


def _network(name: str, weights: str | None, seed: int) -> Sam2VideoModel:
    config = toy_config() if name == "toy" else sam21_config(name.removeprefix("sam2.1_hiera_"))
    if weights == "random":
        return _random(config, seed)
    if weights is not None:
        if not Path(weights).is_dir():
            raise UserError(
                f"model.weights={weights} is not a folder: give one that from_pretrained reads, or 'random'"
            )
        return _pretrained(name, weights)
    if name == "toy":
        network = _random(config, seed)
        network.load_state_dict(load_file(TOY_FOLDER / "model.safetensors"))
        return network
    return _pretrained(name, f"facebook/{name.replace('_', '-')}")


def _random(config: Sam2VideoConfig, seed: int) -> Sam2VideoModel:
    """Seeded weights, without touching the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Sam2VideoModel(config)


def _pretrained(name: str, source: str) -> Sam2VideoModel:
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        return Sam2VideoModel.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the weights of model {name} can't be read from {source} ({_first_line(error)}); download them where "
            "there is a network and give the folder as model.weights=FOLDER, or measure speed with model.weights=random"
        ) from error
    finally:
        transformers_logging.set_verbosity(verbosity)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
