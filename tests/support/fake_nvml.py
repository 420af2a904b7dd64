"""A machine's GPUs as the pynvml module shows them: only what the harness calls, with pynvml's real exceptions."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any, NoReturn

import pynvml
import pytest
import torch

MIB = 1 << 20


@dataclass
class FakeDevice:
    """A GPU or one of its MIG instances; its counters may be changed at any time."""

    uuid: str
    utilisation: int = 87
    used_mb: int = 3000
    reserved_mb: int = 500
    power_mw: int = 312_500
    energy_mj: int = 9_000_000
    temperature: int = 61
    sm_clock: int = 1755
    memory_clock: int = 2619
    reasons: int = pynvml.nvmlClocksEventReasonNone
    pids: list[int] = field(default_factory=lambda: [os.getpid()])
    instances: list[FakeDevice] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=dict)
    """What functions fail with; memory's second version is a function of its own."""
    broken: int | None = None
    """The error of every call on it, if any: NVML_ERROR_GPU_IS_LOST, say."""
    calls_left: int | None = None
    """After so many more calls it is lost."""


class FakeNvml:
    """The module; ``initialised`` counts nvmlInit against nvmlShutdown."""

    def __init__(self, *devices: FakeDevice, driver: bool = True, missing: frozenset[str] = frozenset()) -> None:
        self.devices, self.driver, self.missing = list(devices), driver, missing
        self.initialised = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if not self.driver:
            fail(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.initialised += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self._check_initialised()
        self.initialised -= 1

    def __getattr__(self, name: str) -> Callable[..., Any]:
        """Functions of a device; ``missing`` ones this version of pynvml doesn't have."""
        if name in self.missing or name not in COUNTERS | LOOKUPS:
            raise AttributeError(f"module 'pynvml' has no attribute '{name}'")
        return partial(self._look_up if name in LOOKUPS else self._count, name)

    def _look_up(self, name: str, *arguments: Any) -> Any:
        self._check_initialised()
        return LOOKUPS[name](self, *arguments)

    def _count(self, name: str, device: FakeDevice, *arguments: Any, **options: Any) -> Any:
        self._check_initialised()
        if device.calls_left is not None:
            device.calls_left -= 1
            if device.calls_left < 0:
                device.broken = pynvml.NVML_ERROR_GPU_IS_LOST
        if device.broken is not None:
            fail(device.broken)
        versioned = f"{name}_v2" if options.get("version") else name
        if versioned in device.errors:
            fail(device.errors[versioned])
        return COUNTERS[name](device, *arguments, **options)

    def _check_initialised(self) -> None:
        if self.initialised < 1:
            fail(pynvml.NVML_ERROR_UNINITIALIZED)


def unsupported(*functions: str) -> dict[str, int]:
    """The ``errors`` of a device that doesn't support these functions."""
    return dict.fromkeys(functions, pynvml.NVML_ERROR_NOT_SUPPORTED)


def fail(code: int) -> NoReturn:
    """pynvml makes the exception's class out of the code."""
    raise pynvml.NVMLError(code)


def _at(devices: list[FakeDevice], index: int) -> FakeDevice:
    return devices[index] if index < len(devices) else fail(pynvml.NVML_ERROR_NOT_FOUND)


def _by_uuid(nvml: FakeNvml, uuid: str) -> FakeDevice:
    everything = [one for device in nvml.devices for one in (device, *device.instances)]
    found = [device for device in everything if device.uuid == uuid]
    return found[0] if found else fail(pynvml.NVML_ERROR_NOT_FOUND)


def _memory(device: FakeDevice, version: int | None = None) -> SimpleNamespace:
    """The first version counts the driver's reserve as used."""
    if version is None:
        return SimpleNamespace(used=(device.used_mb + device.reserved_mb) * MIB)
    assert version == pynvml.nvmlMemory_v2
    return SimpleNamespace(used=device.used_mb * MIB, reserved=device.reserved_mb * MIB)


def _temperature(device: FakeDevice, sensor: int) -> int:
    assert sensor == pynvml.NVML_TEMPERATURE_GPU
    return device.temperature


LOOKUPS: dict[str, Callable[..., Any]] = {
    "nvmlDeviceGetCount": lambda nvml: len(nvml.devices),
    "nvmlDeviceGetHandleByIndex": lambda nvml, index: _at(nvml.devices, index),
    "nvmlDeviceGetHandleByUUID": _by_uuid,
}
COUNTERS: dict[str, Callable[..., Any]] = {
    "nvmlDeviceGetUUID": lambda device: device.uuid,
    "nvmlDeviceGetMaxMigDeviceCount": lambda device: 7 if device.instances else 0,
    "nvmlDeviceGetMigDeviceHandleByIndex": lambda device, index: _at(device.instances, index),
    "nvmlDeviceGetUtilizationRates": lambda device: SimpleNamespace(gpu=device.utilisation, memory=1),
    "nvmlDeviceGetMemoryInfo": _memory,
    "nvmlDeviceGetPowerUsage": lambda device: device.power_mw,
    "nvmlDeviceGetTotalEnergyConsumption": lambda device: device.energy_mj,
    "nvmlDeviceGetTemperatureV": _temperature,
    "nvmlDeviceGetTemperature": _temperature,
    "nvmlDeviceGetClockInfo": lambda device, kind: {
        pynvml.NVML_CLOCK_SM: device.sm_clock,
        pynvml.NVML_CLOCK_MEM: device.memory_clock,
    }[kind],
    "nvmlDeviceGetCurrentClocksEventReasons": lambda device: device.reasons,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda device: device.reasons,
    "nvmlDeviceGetComputeRunningProcesses": lambda device: [SimpleNamespace(pid=pid) for pid in device.pids],
}


def show_to_torch(monkeypatch: pytest.MonkeyPatch, devices: list[FakeDevice], visible: str | None) -> None:
    """Makes torch number ``devices``, in CUDA's order, as CUDA does under ``CUDA_VISIBLE_DEVICES=visible``."""
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        seen = devices
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
        everything = [one for device in devices for one in (device, *device.instances)]
        seen = [
            devices[int(token)] if token.isdigit() else next(one for one in everything if one.uuid.startswith(token))
            for token in visible.split(",")
        ]

    def get_device_properties(index: int) -> SimpleNamespace:
        if index >= len(seen):
            raise AssertionError("Invalid device id")
        return SimpleNamespace(uuid=seen[index].uuid.removeprefix("GPU-").removeprefix("MIG-"))

    monkeypatch.setattr(torch.cuda, "get_device_properties", get_device_properties)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
