"""The jobs of a worker, which encode a workload, or measure a point or an extra. Jobs travel to it by pickle."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.data.sources import open_groups
from harness.isolate.extra import ExtraJob
from harness.masks.pictures import PictureBook
from harness.measure.again import time_again
from harness.measure.compared import OnStage
from harness.measure.point import measure_point
from harness.measure.streams.point import measure_stream, time_stream_again
from harness.observe.monitor import SUSTAINED, Monitor, Monitoring
from harness.observe.nvml import memory_in_use_mb
from harness.options.config import HarnessConfig
from harness.options.devices import resolve_device
from harness.options.points import Point
from harness.result import PointResult
from harness.workload.encode import Workload, encode_workload
from strategies.models.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class EncodeJob:
    """Make the workload that ``point`` shares with others, in ``folder``."""

    point: Point
    folder: Path

    def run(self, on_stage: OnStage) -> None:
        on_stage("loading the model")
        model = model_of(self.point.config, known_usable=False)
        on_stage("encoding frames")
        config = self.point.config
        encode_workload(
            model,
            open_groups(config),
            options=config.encode,
            folder=self.folder,
            compared=config.objects if config.compare else 0,
        )


@dataclass(frozen=True, kw_only=True)
class MeasureJob:
    """Measure ``point`` on the workload in ``folder``; pictures go to the run's folder.

    began: time.time() when the worker was started, from which its set-up counts. process: which of the point's
    processes this is; the first verifies the masks, and measures what is not timed.
    """

    point: Point
    folder: Path
    run_folder: Path
    began: float
    process: int = 0

    def run(self, on_stage: OnStage) -> PointResult:
        config = self.point.config
        started = time.time()
        idle_mb = memory_in_use_mb()  # This process has nothing on the GPU yet.
        on_stage("loading the model")
        model = model_of(self.point.config, known_usable=True)
        loaded = time.time()
        on_stage("opening the features")
        workload = Workload(model, open_groups(config), self.folder)
        opened = time.time()
        pictures = PictureBook(self.run_folder, targets=config.pictures)
        with Monitor(model.device, interval=config.monitor_interval, idle_mb=idle_mb) as monitor:

            def stage(name: str) -> None:
                on_stage(name)
                monitor.phase(name)

            if config.scenario == "stream":
                measure = measure_stream if self.process == 0 else time_stream_again
                result = measure(self.point, workload, on_stage=stage)
            elif self.process == 0:
                result = measure_point(self.point, workload, pictures, on_stage=stage)
            else:
                result = time_again(self.point, workload, on_stage=stage)
        monitoring = monitor.result()
        setup = {"process": started - self.began, "model": loaded - started, "features": opened - loaded}
        return replace(
            result,
            row=replace(
                result.row,
                setup_s=opened - self.began,
                **_gpu_columns(monitoring, result.details.get("sustained")),
            ),
            details=result.details
            | {
                "setup_seconds": setup,
                "series": monitoring.columns(),
                "monitor_share_of_core": monitoring.share_of_core,
                "monitor_note": monitoring.note,
            },
        )


def _gpu_columns(monitoring: Monitoring, sustained: dict[str, Any] | None) -> dict[str, Any]:
    """Return the columns of the stretch in which the strategy ran alone; none without one, as on a CPU."""
    if sustained is None:
        return {}
    observed = monitoring.summary(SUSTAINED)
    energy = observed.gpu_energy_j
    return {
        "vram_device_mb": observed.gpu_memory_mb,
        "gpu_util_mean": observed.gpu_util_mean,
        "gpu_power_w": observed.gpu_power_mean_w,
        "energy_j_per_1000": None if energy is None else 1000 * energy / sustained["targets"],
        "gpu_temperature_c": observed.gpu_temperature_max_c,
        "gpu_clock_mhz": observed.gpu_sm_clock_mean_mhz,
        "throttle": observed.throttle,
        "foreign_processes": observed.foreign_processes,
    }


Job = EncodeJob | MeasureJob | ExtraJob


def model_of(config: HarnessConfig, *, known_usable: bool) -> Tracker:
    """Load the model that the options name; ``known_usable`` is that of `load_model`."""
    from strategies.models.loading import load_model  # It imports transformers, which no command needs to start.

    return load_model(
        config.model.name,
        weights=config.model.weights,
        device=str(resolve_device(config.device)),
        dtype=config.dtype,
        seed=config.seed,
        known_usable=known_usable,
    )
