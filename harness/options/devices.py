"""The device of a run: which it is, what it is called, and the folder that is named after it."""

from __future__ import annotations

import platform
from pathlib import Path

import torch

from harness.options.words import as_file_name
from strategies.errors import UserError
from strategies.models.devices import usable_device


def resolve_device(device: str) -> torch.device:
    """Return a device; ``auto`` is the first CUDA device, else the CPU. Raises UserError where it is not usable."""
    if device == "auto":
        device = "cpu" if computes_on_cpu(device) else "cuda"
    return usable_device(device)


def computes_on_cpu(device: str) -> bool:
    """Return whether a device, which may be ``auto``, is the CPU."""
    return device == "cpu" or (device == "auto" and not torch.cuda.is_available())


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the CPU's."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpuinfo().get("model name", platform.processor() or platform.machine())


def device_folder(device: str) -> str:
    """Return the name of a device, given as ``device=``, as the name of a folder.

    One that is not here is called as it was given: the sweep refuses it in a sentence of its own.
    """
    try:
        return as_file_name(device_name(resolve_device(device)))
    except UserError:
        return as_file_name(device)


def cpuinfo() -> dict[str, str]:
    """Return what the system says of the first processor; nothing where it does not say it as Linux does."""
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}
