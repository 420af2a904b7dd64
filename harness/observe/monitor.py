"""The machine during a stretch of work: a thread samples memory, processor time and the GPU."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from itertools import groupby
from pathlib import Path
from statistics import fmean
from types import TracebackType
from typing import Any, Self, TypeVar

import torch

from harness.observe.memory import MEGABYTE
from harness.observe.nvml import Gpu, GpuReading, open_gpu

SUSTAINED = "sustained"
"""The phase that a summary is about, where there is such a phase."""
MOST_OF_A_CORE = 0.01
"""The share of a core that the sampling thread may take: it waits longer where a sample is expensive."""

T = TypeVar("T")
Number = TypeVar("Number", int, float)


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The process and its GPU at one moment; a field is None where it can't be read."""

    seconds: float
    """Seconds since the monitor began."""
    phase: str
    rss_mb: float | None
    """MiB of this process's resident memory."""
    cpu_s: float
    """Processor seconds of all threads of this process so far."""
    gpu: GpuReading


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The means, maxima and totals of one phase; a field is None where it can't be read."""

    gpu_util_mean: float | None
    """The GPU's utilisation in per cent."""
    gpu_power_mean_w: float | None
    gpu_energy_j: float | None
    gpu_memory_mb: float | None
    """The most MiB in use on the GPU, less what was in use there before this process used it."""
    gpu_temperature_max_c: float | None
    gpu_sm_clock_mean_mhz: float | None
    throttle: str | None
    """All reasons that held the clocks down at some time; empty where there were none."""
    foreign_processes: int | None
    """The most foreign processes at once."""
    cpu_cores_mean: float | None
    rss_peak_mb: float | None


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """The samples of a monitor, in order of time."""

    samples: tuple[Snapshot, ...]
    idle_mb: float | None = None
    """MiB in use on the GPU before this process used it."""
    share_of_core: float = 0.0
    """Processor seconds that the sampling thread took in each second."""
    note: str | None = None
    """A sentence that says why the GPU's columns are empty, where there is a GPU."""

    def columns(self) -> dict[str, list[Any]]:
        """Return, for JSON, each column with a value for each sample; columns without any value are left out."""
        rows = [{**vars(sample), **vars(sample.gpu)} for sample in self.samples]
        names = [column.name for column in (*fields(Snapshot), *fields(GpuReading)) if column.name != "gpu"]
        columns = {name: [_plain(row[name]) for row in rows] for name in names}
        return {name: values for name, values in columns.items() if _readable(values)}

    def summary(self, phase: str | None = None) -> Summary:
        """Sum up ``phase``, which may come more than once; if it is None, the sustained phase, or else all samples."""
        wanted = SUSTAINED if phase is None else phase
        by_phase = groupby(self.samples, key=lambda sample: sample.phase)
        stretches = [list(samples) for name, samples in by_phase if name == wanted]
        if phase is None and not stretches:
            stretches = [list(self.samples)]
        samples = [sample for stretch in stretches for sample in stretch]
        gpu = [sample.gpu for sample in samples]
        used_mb = _most(reading.memory_used_mb for reading in gpu)
        throttles = _readable(reading.throttle for reading in gpu)
        seconds = _increase(stretches, lambda sample: sample.seconds)
        cpu_s = _increase(stretches, lambda sample: sample.cpu_s)
        return Summary(
            gpu_util_mean=_mean(reading.utilisation for reading in gpu),
            gpu_power_mean_w=_mean(reading.power_w for reading in gpu),
            gpu_energy_j=_increase(stretches, lambda sample: sample.gpu.energy_j),
            gpu_memory_mb=None if used_mb is None or self.idle_mb is None else used_mb - self.idle_mb,
            gpu_temperature_max_c=_most(reading.temperature_c for reading in gpu),
            gpu_sm_clock_mean_mhz=_mean(reading.sm_clock_mhz for reading in gpu),
            throttle=", ".join(sorted({name for names in throttles for name in names})) if throttles else None,
            foreign_processes=_most(reading.foreign_processes for reading in gpu),
            cpu_cores_mean=cpu_s / seconds if cpu_s is not None and seconds else None,
            rss_peak_mb=_most(sample.rss_mb for sample in samples),
        )


class Monitor:
    """Samples while its ``with`` block runs: at once, every ``interval`` seconds, and at the end.

    Whatever goes wrong with sampling, the block goes on: what can't be read is None. ``idle_mb`` is what
    ``memory_in_use_mb`` returned before this process used CUDA.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        interval: float = 0.2,
        idle_mb: Mapping[str, float] | None = None,
        opener: Callable[[torch.device], Gpu] = open_gpu,
    ) -> None:
        self.note: str | None = None
        self._device, self._interval, self._opener = device, interval, opener
        self._idle_mb = idle_mb or {}
        self._gpu: Gpu | None = None
        self._phase = ""
        self._samples: list[Snapshot] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)
        self._thread_seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> Self:
        if self._device.type == "cuda":
            try:
                self._gpu = self._opener(self._device)
            except Exception as error:
                self.note = f"The GPU's columns are empty: {' '.join(str(error).split()) or type(error).__name__}."
        self._began = time.perf_counter()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()
        if self._gpu is not None:
            with suppress(Exception):
                self._gpu.close()

    def phase(self, name: str) -> None:
        """End the phase so far and begin another.

        This takes a sample, which is the last of the one and the first of the other, so it is not to be called within
        what is timed.
        """
        with self._lock:
            boundary = self._snapshot()
            self._samples += [boundary, replace(boundary, phase=name)]
            self._phase = name

    def result(self) -> Monitoring:
        """Return the samples so far."""
        with self._lock:
            samples = tuple(self._samples)
        seconds = samples[-1].seconds if samples else 0.0
        return Monitoring(
            samples=samples,
            idle_mb=self._idle_mb.get(self._gpu.uuid or "") if self._gpu is not None else None,
            share_of_core=self._thread_seconds / seconds if seconds else 0.0,
            note=self.note,
        )

    def _watch(self) -> None:
        while not self._stop.wait(self._pause()):
            self._sample()
        self._thread_seconds = time.thread_time()

    def _pause(self) -> float:
        """Return the seconds to wait: the interval, or longer until the thread's share of a core is what it may be."""
        self._thread_seconds = time.thread_time()
        return max(self._interval, self._thread_seconds / MOST_OF_A_CORE - (time.perf_counter() - self._began))

    def _sample(self) -> None:
        with self._lock:
            self._samples.append(self._snapshot())

    def _snapshot(self) -> Snapshot:
        return Snapshot(
            seconds=time.perf_counter() - self._began,
            phase=self._phase,
            cpu_s=time.process_time(),
            rss_mb=_rss_mb(),
            gpu=self._read_gpu(),
        )

    def _read_gpu(self) -> GpuReading:
        try:
            return GpuReading() if self._gpu is None else self._gpu.read()
        except Exception:  # A reading is not known to raise, and if it does, no measurement is to be lost by it.
            return GpuReading()


def _rss_mb() -> float | None:
    try:
        pages = Path("/proc/self/statm").read_text().split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / MEGABYTE


def _readable(values: Iterable[T | None]) -> list[T]:
    return [value for value in values if value is not None]


def _mean(values: Iterable[float | None]) -> float | None:
    readable = _readable(values)
    return fmean(readable) if readable else None


def _most(values: Iterable[Number | None]) -> Number | None:
    return max(_readable(values), default=None)


def _increase(stretches: list[list[Snapshot]], counter: Callable[[Snapshot], float | None]) -> float | None:
    """Return a counter's increase over all stretches together; None where it can't be read at an end of any."""
    total = None
    for first, last in ((counter(stretch[0]), counter(stretch[-1])) for stretch in stretches if len(stretch) > 1):
        if first is None or last is None:
            return None
        total = (total or 0.0) + last - first
    return total


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 3)
    return ", ".join(value) if isinstance(value, tuple) else value
