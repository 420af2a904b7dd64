"""Peak memory of a stretch of work: the process's resident set, and the allocator's memory on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

MEGABYTE = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Peak memory of a stretch of work, in MiB; a field is None where this system does not report it.

    rss: the process's resident set. allocated, reserved: what torch's allocator handed out, and what it took, on a GPU.
    """

    rss: float | None
    allocated: float | None
    reserved: float | None

    @staticmethod
    def highest(peaks: Sequence[Peaks]) -> Peaks:
        """Return the highest peaks of several stretches, each field by itself."""
        return Peaks(
            rss=_highest([one.rss for one in peaks]),
            allocated=_highest([one.allocated for one in peaks]),
            reserved=_highest([one.reserved for one in peaks]),
        )


def _highest(values: Sequence[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


class PeakMemory:
    """Resets the peaks when it is made; `read` returns the peaks since then."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._rss_resets = _reset_peak_rss()
        if device.type == "cuda":
            torch.cuda.empty_cache()  # The memory reserved is then what this stretch asks for.
            torch.cuda.reset_peak_memory_stats(device)

    def read(self) -> Peaks:
        on_gpu = self._device.type == "cuda"
        return Peaks(
            rss=_peak_rss() if self._rss_resets else None,
            allocated=torch.cuda.max_memory_allocated(self._device) / MEGABYTE if on_gpu else None,
            reserved=torch.cuda.max_memory_reserved(self._device) / MEGABYTE if on_gpu else None,
        )


def _reset_peak_rss() -> bool:
    """Set the high-water mark back to the present use, as Linux does when 5 is written to this file (proc(5))."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def _peak_rss() -> float | None:
    return _kilobytes(Path("/proc/self/status"), "VmHWM:")


def in_use_mb(device: torch.device) -> float | None:
    """Return the memory in use now, in MiB: torch's on a GPU, else the process's resident set."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device) / MEGABYTE
    return _kilobytes(Path("/proc/self/status"), "VmRSS:")


def free_mb(device: torch.device) -> float | None:
    """Return the memory that is free, in MiB: the GPU's, or what the machine and the control group leave."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / MEGABYTE
    left = [_kilobytes(Path("/proc/meminfo"), "MemAvailable:"), _left_to_group()]
    return min((one for one in left if one is not None), default=None)


def _left_to_group(folder: Path = Path("/sys/fs/cgroup")) -> float | None:
    """Return what the control group's limit leaves, in MiB; None where there is no limit that can be read."""
    try:
        most, now = (int((folder / name).read_text()) for name in ("memory.max", "memory.current"))
    except (OSError, ValueError):  # Without a limit the file says "max".
        return None
    return (most - now) / MEGABYTE


def _kilobytes(file: Path, name: str) -> float | None:
    """Return a line's value in MiB, where a file of Linux has it in kB."""
    for line in file.read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    return None
