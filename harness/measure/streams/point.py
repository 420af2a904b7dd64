"""The measurement of one grid point of ``scenario=stream``, in the point's own process."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from dataclasses import asdict
from typing import Any

from harness.measure.columns import AGREED, cost_columns, describe, speed_columns, speedup_columns, timing_details
from harness.measure.compared import OnStage
from harness.measure.making import make_stream_strategy
from harness.measure.speed import measure_speed, run_sustained
from harness.measure.speed_measurement import SpeedMeasurement
from harness.measure.streams.check import Compared, FreeRun, compare_with_oracle, drift, run_freely
from harness.measure.streams.courses import EncodedVideo
from harness.measure.streams.floor import Floors
from harness.measure.streams.free import FreeLimits
from harness.measure.streams.latency import Latency, time_steps
from harness.measure.streams.scenario import Stream
from harness.measure.timing import Clock, device_clock
from harness.observe.memory import MEGABYTE
from harness.observe.monitor import SUSTAINED
from harness.options.points import Point
from harness.result import PointResult
from harness.row import Masks, Row
from harness.workload.encode import Workload
from strategies.components.sdpa import observed
from strategies.streams.base import StreamStrategy


def measure_stream(
    point: Point, workload: Workload, *, clock: Clock | None = None, on_stage: OnStage = lambda _: None
) -> PointResult:
    """Measure a point; its status is ``ok`` or ``wrong``, and whatever the strategy raises comes through."""
    config, model = point.config, workload.model
    clock = clock or device_clock(model.device)
    videos = [EncodedVideo.of(encoded, config.objects) for encoded in workload.groups]
    baseline = make_stream_strategy(config.baseline, model) if config.paired else None
    with make_stream_strategy(config.strategy, model) as candidate, baseline or nullcontext():
        on_stage("following the videos")
        found = run_freely(candidate, videos, at_once=config.videos, folder=workload.folder)
        compared = None
        if config.compare:
            on_stage("checking the masks")
            compared = compare_with_oracle(config, workload, videos, found, exact=candidate.exact)
        on_stage("timing")
        limit = None if compared is None else compared.limit
        scenario = Stream(config, videos, candidate=candidate, baseline=baseline, limit=limit)
        timed = measure_speed(scenario, config.timing, seed=config.seed, clock=clock)
        sustained = None
        if model.device.type == "cuda" and config.timing.sustained_seconds > 0:
            sustained = run_sustained(
                scenario.work,
                targets_per_call=scenario.work.first.frames,
                seconds=config.timing.sustained_seconds,
                clock=clock,
                begin=lambda: on_stage(SUSTAINED),
            )
        on_stage("timing single steps")
        latency = time_steps(
            candidate, scenario.work, videos=config.videos, seconds=config.timing.max_seconds, clock=clock
        )
        on_stage("watching a step")
        attention = _watch(candidate, scenario)
        fault = scenario.findings(timed, first=True).fault
        exact, pairs_at_once = candidate.exact, candidate.pairs_at_once
    reason = fault
    if compared is not None and not scenario.work.changed_inputs:
        reason = compared.fault or fault
    scores: dict[str, Any] = found.scores()
    steps: dict[str, Any] = latency.columns()
    return PointResult(
        row=Row(
            **describe(point, workload),
            status="ok" if reason is None else "wrong",
            reason=reason or timed.note,
            **stream_speed_columns(point, workload, timed, scenario),
            **(speedup_columns(timed.pooled.speedup, config.timing.same) if reason is None else {}),
            pairs_at_once=pairs_at_once,
            sdpa="+".join(backend for backend, _ in attention.most_common()) or None,
            peak_rss_mb=found.peaks.rss,
            vram_peak_mb=found.peaks.allocated,
            vram_reserved_mb=found.peaks.reserved,
            **_masks_columns(compared, fault),
            **scores,
            **steps,
            pair_mb=None if found.bytes_per_pair is None else found.bytes_per_pair / MEGABYTE,
        ),
        config=point.options,
        samples=timed.blocks,
        details={
            **timing_details(timed),
            "sustained": None if sustained is None else asdict(sustained),
            "sdpa": dict(attention),
            "stream": _details(found, compared, latency, scenario, exact=exact),
        },
    )


def time_stream_again(
    point: Point, workload: Workload, *, clock: Clock | None = None, on_stage: OnStage = lambda _: None
) -> PointResult:
    """Time a point whose masks another process has verified; its status is ``ok``, or ``wrong`` by its timed blocks."""
    config, model = point.config, workload.model
    videos = [EncodedVideo.of(encoded, config.objects) for encoded in workload.groups]
    limit = FreeLimits.above(Floors.of(workload, videos, config.objects)) if config.compare else None
    baseline = make_stream_strategy(config.baseline, model) if config.paired else None
    with make_stream_strategy(config.strategy, model) as candidate, baseline or nullcontext():
        on_stage("timing")
        scenario = Stream(config, videos, candidate=candidate, baseline=baseline, limit=limit)
        timed = measure_speed(scenario, config.timing, seed=config.seed, clock=clock or device_clock(model.device))
        fault = scenario.findings(timed, first=False).fault
    return PointResult(
        row=Row(
            **describe(point, workload),
            status="ok" if fault is None else "wrong",
            reason=fault or timed.note,
            **stream_speed_columns(point, workload, timed, scenario),
            **(speedup_columns(timed.pooled.speedup, config.timing.same) if fault is None else {}),
        ),
        config=point.options,
        samples=timed.blocks,
        details=timing_details(timed),
    )


def stream_speed_columns(point: Point, workload: Workload, timed: SpeedMeasurement, scenario: Stream) -> dict[str, Any]:
    """Return the columns of a stream's speed, without its speed-up."""
    config, fps = point.config, timed.pooled.fps
    columns = speed_columns(point, workload, timed)
    return {
        **columns,
        "objects_per_s": fps * scenario.work.pairs_of_a_frame,
        "realtime": fps / config.videos / config.camera_fps,
        **cost_columns(config, fps=fps, encode_fps=columns["encode_fps"], flops_per_target=None, matrix_rate=None),
    }


def _masks_columns(compared: Compared | None, fault: str | None) -> dict[str, Any]:
    if compared is None or compared.free is None:
        return {}
    masks: Masks = "same" if compared.same and fault is None else "differ"
    forced = compared.forced
    return {
        "masks": masks,
        "checked_calls": compared.free.calls + (0 if forced is None else forced.calls),
        **{name: getattr(compared.free, name) for name in AGREED},
        "forced_iou_min": None if forced is None else forced.iou_min,
        "floor_iou": compared.floors.trajectory.mean,
    }


def _details(
    found: FreeRun, compared: Compared | None, latency: Latency, scenario: Stream, *, exact: bool
) -> dict[str, Any]:
    timed = scenario.work.meter.result()
    details: dict[str, Any] = {
        "exact": exact,
        "drift": drift(found, compared),
        "of_objects": found.of_objects(),
        "step_seconds": latency.seconds,
        "frames_of_a_video": scenario.work.most,
        "agreement_of_timed_blocks": None if timed is None else asdict(timed),
    }
    if compared is None:
        return details
    return details | {
        "free": None if compared.free is None else asdict(compared.free),
        "forced": None if compared.forced is None else asdict(compared.forced),
        "noise_floor": asdict(compared.floors.noise),
        "limits": asdict(compared.limits),
        "trajectory_floor": asdict(compared.floors.trajectory.differences),
        "least_mean_iou": compared.limit.mean_iou,
        "largest_medians": compared.limit.medians,
    }


def _watch(candidate: StreamStrategy, scenario: Stream) -> Counter[str]:
    """Count which of torch's attention kernels run in a few steps."""
    side = scenario.work.sides(paired=False)["candidate"]
    try:
        with observed() as kernels:
            side.run(scenario.work.first)
        return kernels
    finally:
        side.release()
        scenario.work.close()
