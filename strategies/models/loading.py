"""Models by name, with their weights. Importing this takes seconds, because it imports transformers."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from transformers import PreTrainedModel

from strategies.cpu_features import usable_on_cpu
from strategies.errors import UnavailableError, UserError, did_you_mean
from strategies.models.devices import usable_device
from strategies.models.edgetam_family import EDGETAM
from strategies.models.family import Family
from strategies.models.precision import DTYPES, check_dtype_name
from strategies.models.sam2_family import SAM2
from strategies.models.sam3_tracker_family import SAM3_TRACKER
from strategies.models.tracker import Tracker
from strategies.models.weights import check_finite, pretrained, published, shipped

FAMILIES: tuple[Family, ...] = (SAM2, SAM3_TRACKER, EDGETAM)
MODELS = tuple(name for family in FAMILIES for name in family.names)
OWN_SEED = 0
"""The seed of weights of models that have no others."""


def load_model(
    name: str = "toy",
    *,
    weights: str | None = None,
    device: str = "cpu",
    dtype: str = "fp32",
    seed: int = 0,
    known_usable: bool = False,
) -> Tracker:
    """A model by its name, ready to predict.

    weights: None takes the toy's shipped weights or the published checkpoint from the hub's cache or the hub, and draws
    those of models that have none, always the same; a folder is read with ``from_pretrained``; ``random`` keeps the
    real architecture with weights drawn from ``seed``, for measuring speed without a download.
    known_usable: another process has loaded this on this machine, so that the CPU need not be asked again whether it
    bears the dtype, which takes seconds.
    Raises UnavailableError where a package is missing that the model needs, and UserError where the name is unknown,
    the device or the dtype is not usable, or the weights can't be had or are not those of the model.
    """
    if name not in MODELS:
        raise UserError(f"model={name} is not known; {did_you_mean(name, MODELS)}valid: {', '.join(MODELS)}")
    place = usable_device(device)
    check_dtype_name(dtype)
    if not known_usable:
        _check_usable_dtype(dtype, place)
    family = next(family for family in FAMILIES if name in family.names)
    _check_packages(name, family)
    drawn = weights == "random" or (weights is None and name in family.drawn)
    made = _drawn(name, family, seed if weights else OWN_SEED) if drawn else _read(name, family, weights)
    network = made.eval()
    check_finite(name, weights or "the model's own place", network)
    network.requires_grad_(False)
    _copy_into_own_memory(network)
    model = family.tracker(network, name=name, device=str(place), dtype="fp32")
    if drawn:
        family.centre(model)
    return model if dtype == "fp32" else model.in_dtype(dtype)


def _check_packages(name: str, family: Family) -> None:
    package = family.packages.get(name)
    if package is not None and importlib.util.find_spec(package) is None:
        raise UnavailableError(
            f"model={name} needs the package {package}, which is not installed: pip install 'sambatch[{name}]', with "
            "torch's own index of CPU builds where torch is from there (pytorch.org says how)"
        )


def _check_usable_dtype(dtype: str, device: torch.device) -> None:
    if device.type == "cpu" and DTYPES[dtype] != torch.float32 and not usable_on_cpu(DTYPES[dtype]):
        raise UserError(
            f"dtype={dtype} is not usable on this CPU (it announces instructions that kill the process): set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment, or use dtype=fp32"
        )


def _read(name: str, family: Family, weights: str | None) -> PreTrainedModel:
    if weights is not None:
        if not weights or not Path(weights).is_dir():
            raise UserError(
                f"model.weights={weights} is not a folder: give one that from_pretrained reads, or 'random'"
            )
        if name in family.shipped and Path(weights).resolve() == family.shipped[name].parent.resolve():
            return shipped(name, family)  # Their config.json is this project's own.
        return pretrained(name, family, weights, local=True)
    return shipped(name, family) if name in family.shipped else published(name, family)


def _copy_into_own_memory(network: PreTrainedModel) -> None:
    """Move every tensor to memory that torch allocates, and aligns.

    Tensors of a file lie where the file has them, and small products take another path, with other bits, by alignment:
    where a model comes from would show in its masks.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()


def _drawn(name: str, family: Family, seed: int) -> PreTrainedModel:
    """Return a network of weights drawn by the seed, without touching the caller's random state."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = family.network(family.architecture(name))
        family.spread(network)
    return network
