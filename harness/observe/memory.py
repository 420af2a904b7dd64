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
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return None
