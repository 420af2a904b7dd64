"""The models that strategies run, by name."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Sam2VideoConfig, Sam2VideoModel

from strategies.cpu_features import usable_on_cpu
from strategies.errors import UserError, did_you_mean
from strategies.models.configs import MODELS, model_config
from strategies.models.precision import DTYPES, check_dtype_name
from strategies.models.sam2 import Sam2
from strategies.models.tracker import Tracker
from strategies.models.weights import pretrained, published, shipped_toy


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

    weights: None takes the toy's shipped weights or the published checkpoint from the hub's cache or the hub; a folder
    is read with ``from_pretrained``; ``random`` keeps the real architecture with weights drawn from ``seed``, for
    measuring speed without a download.
    known_usable: another process has loaded this on this machine, so that the CPU need not be asked again whether it
    bears the dtype, which takes seconds.
    Raises UserError where the name is unknown, the device or the dtype is not usable, or the weights can't be had or
    are not those of the model.
    """
    if name not in MODELS:
        raise UserError(f"model={name} is not known; {did_you_mean(name, MODELS)}valid: {', '.join(MODELS)}")
    place = usable_device(device)
    check_dtype_name(dtype)
    if not known_usable:
        _check_usable_dtype(dtype, place)
    network = _network(name, weights, seed).eval()
    network.requires_grad_(False)
    _copy_into_own_memory(network)
    return Sam2(network, name=name, device=str(place), dtype=dtype)


def usable_device(name: str) -> torch.device:
    """The device of that name: the CPU, or a CUDA device that is here. Raises UserError for any other."""
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise UserError(f"device={name} is not known; use cpu, cuda or cuda:N") from error
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise UserError(f"device={name} is not supported; use cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        raise UserError(f"device={name} is not here: torch finds no CUDA device; use device=cpu")
    here = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if device.index is not None and device.index >= len(here):
        raise UserError(f"device={name} is not here: torch finds {', '.join(here)}; use one of those, or device=cpu")
    return device


def _check_usable_dtype(dtype: str, device: torch.device) -> None:
    if device.type == "cpu" and DTYPES[dtype] != torch.float32 and not usable_on_cpu(DTYPES[dtype]):
        raise UserError(
            f"dtype={dtype} is not usable on this CPU (it announces instructions that kill the process): set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment, or use dtype=fp32"
        )


def _network(name: str, weights: str | None, seed: int) -> Sam2VideoModel:
    if weights == "random":
        return _random(model_config(name), seed)
    if weights is not None:
        if not Path(weights).is_dir():
            raise UserError(
                f"model.weights={weights} is not a folder: give one that from_pretrained reads, or 'random'"
            )
        return pretrained(name, weights, local=True)
    if name == "toy":
        return shipped_toy()
    return published(name)


def _copy_into_own_memory(network: Sam2VideoModel) -> None:
    """Move every tensor to memory that torch allocates, and aligns.

    Tensors of a file lie where the file has them, and small products take another path, with other bits, by alignment:
    where a model comes from would show in its masks.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data = tensor.data.clone()


def _random(config: Sam2VideoConfig, seed: int) -> Sam2VideoModel:
    """Seeded weights, without touching the caller's random state.

    As initialised, every object score is some thousandths below 0, so that all gates are closed and every mask is the
    same -1024: strategies would agree on masks that nobody computed. A score of about 1 opens the gates.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Sam2VideoModel(config)
    torch.nn.init.ones_(network.mask_decoder.pred_obj_score_head.proj_out.bias)
    return network
