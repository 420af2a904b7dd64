"""Devices by name."""

from __future__ import annotations

import torch

from strategies.errors import UserError


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
