"""One GPU's counters through NVML, the driver's monitoring library; what it does not report is None, never 0."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pynvml
import torch

from harness.observe.memory import MEGABYTE

THROTTLES = {
    pynvml.nvmlClocksEventReasonSwPowerCap: "sw power cap",
    pynvml.nvmlClocksEventReasonHwSlowdown: "hw slowdown",
    pynvml.nvmlClocksEventReasonSyncBoost: "sync boost",
    pynvml.nvmlClocksEventReasonSwThermalSlowdown: "sw thermal slowdown",
    pynvml.nvmlClocksEventReasonHwThermalSlowdown: "hw thermal slowdown",
    pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown: "hw power brake",
}
"""The reasons that hold the clocks down against anyone's wish; the driver reports idleness and set clocks too."""

_OLDER = (
    AttributeError,
    pynvml.NVMLLibraryMismatchError,
    pynvml.NVMLError_NotSupported,
    pynvml.NVMLError_FunctionNotFound,
    pynvml.NVMLError_ArgumentVersionMismatch,
)
"""The errors of a function that this pynvml, driver or GPU lacks."""


class NvmlUnavailableError(Exception):
    """A GPU can't be read, for the reason in the message."""


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """A GPU at one moment; a field is None where it can't be read."""

    utilisation: float | None = None
    """The share, in per cent, of the last second or less in which some kernel ran."""
    memory_used_mb: float | None = None
    """MiB in use by all processes together."""
    power_w: float | None = None
    energy_j: float | None = None
    """Joules since the driver was loaded."""
    temperature_c: float | None = None
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    throttle: tuple[str, ...] | None = None
    """Reasons, as ``THROTTLES`` names them; empty where nothing holds the clocks down."""
    foreign_processes: int | None = None
    """How many other processes compute on it."""


class Gpu:
    """A device that NVML has opened; keeps NVML initialised until it is closed."""

    def __init__(self, handle: Any, *, nvml: Any = pynvml) -> None:
        self._handle, self._nvml, self._open = handle, nvml, True
        self.uuid: str | None = _first(lambda: nvml.nvmlDeviceGetUUID(handle))

    def read(self) -> GpuReading:
        """Read all counters. This raises nothing: those of a lost or closed device are None."""
        nvml, handle = self._nvml, self._handle
        utilisation = _first(lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
        reasons = _first(
            lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(handle),
            lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle),
        )
        temperature = _first(
            lambda: nvml.nvmlDeviceGetTemperatureV(handle, pynvml.NVML_TEMPERATURE_GPU),
            lambda: nvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU),
        )
        return GpuReading(
            utilisation=utilisation,
            memory_used_mb=_used_mb(handle, nvml),
            power_w=_thousandth(_first(lambda: nvml.nvmlDeviceGetPowerUsage(handle))),
            energy_j=_thousandth(_first(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle))),
            temperature_c=temperature,
            sm_clock_mhz=_first(lambda: nvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM)),
            memory_clock_mhz=_first(lambda: nvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_MEM)),
            throttle=None if reasons is None else tuple(name for bit, name in THROTTLES.items() if reasons & bit),
            foreign_processes=_foreign(_first(lambda: nvml.nvmlDeviceGetComputeRunningProcesses(handle))),
        )

    def close(self) -> None:
        if self._open:
            self._open = False
            _first(self._nvml.nvmlShutdown)


def open_gpu(device: torch.device, *, nvml: Any = pynvml) -> Gpu:
    """Open the GPU that torch calls ``device`` by its UUID, because NVML numbers devices differently from CUDA.

    This initialises CUDA. Raises ``NvmlUnavailableError`` where NVML or the device can't be used.
    """
    uuids = _uuids(device)
    try:
        nvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NvmlUnavailableError(f"NVML can't be used ({error})") from error
    for uuid in uuids:
        handle = _first(partial(nvml.nvmlDeviceGetHandleByUUID, uuid))
        if handle is not None:
            return Gpu(handle, nvml=nvml)
    _first(nvml.nvmlShutdown)
    raise NvmlUnavailableError(f"NVML does not find {device} as {' or '.join(uuids)}")


def memory_in_use_mb(*, nvml: Any = pynvml) -> dict[str, float]:
    """Return the MiB in use on every GPU and MIG instance, by the UUID that ``Gpu`` has; empty where there is no NVML.

    This does not use CUDA, so a call before CUDA is used returns what is in use without this process.
    """
    try:
        nvml.nvmlInit()
    except pynvml.NVMLError:
        return {}
    used = {}
    for handle in _handles(nvml):
        uuid, megabytes = _first(partial(nvml.nvmlDeviceGetUUID, handle)), _used_mb(handle, nvml)
        if uuid is not None and megabytes is not None:
            used[uuid] = megabytes
    _first(nvml.nvmlShutdown)
    return used


def _handles(nvml: Any) -> Iterator[Any]:
    """Yield every device, followed by its MIG instances, whose numbers may have gaps."""
    for index in range(_first(nvml.nvmlDeviceGetCount) or 0):
        device = _first(partial(nvml.nvmlDeviceGetHandleByIndex, index))
        if device is None:
            continue
        yield device
        for place in range(_first(partial(nvml.nvmlDeviceGetMaxMigDeviceCount, device)) or 0):
            instance = _first(partial(nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, place))
            if instance is not None:
                yield instance


def _uuids(device: torch.device) -> list[str]:
    """Return the UUIDs under which NVML may know a device, the likeliest first."""
    try:
        index = torch.cuda.current_device() if device.index is None else device.index
        uuid = str(torch.cuda.get_device_properties(index).uuid)
    except (RuntimeError, AssertionError) as error:
        raise NvmlUnavailableError(f"torch does not find {device} ({error})") from error
    tokens = [token.strip() for token in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    # CUDA takes as many devices as there are tokens, so each is at its token's place.
    if index < len(tokens) and tokens[index].startswith("MIG-"):
        return [tokens[index]]
    return [uuid] if uuid.startswith(("GPU-", "MIG-")) else [f"GPU-{uuid}", f"MIG-{uuid}"]


def _used_mb(handle: Any, nvml: Any) -> float | None:
    memory = _first(
        lambda: nvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2),
        # This one counts the driver's reserve as used, so it must not stand in for one failed call of the other.
        lambda: nvml.nvmlDeviceGetMemoryInfo(handle),
    )
    return None if memory is None else memory.used / MEGABYTE


def _foreign(processes: list[Any] | None) -> int | None:
    if not processes:  # The list lacks even this process, which computes there.
        return None
    pids = {process.pid for process in processes}
    # The sweep that started this worker may be there too, idle. A container may see pids of another namespace: then one
    # of them is this process, whichever it is.
    return len(pids - {os.getpid(), os.getppid()}) if os.getpid() in pids else len(pids) - 1


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _first(*ways: Callable[[], Any]) -> Any:
    """Return the result of the first way that this pynvml and driver have; None where it fails or there is none."""
    for way in ways:
        try:
            return way()
        except _OLDER:
            continue
        except pynvml.NVMLError:
            return None
    return None
