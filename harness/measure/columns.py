"""The columns of a row that say what a point is and how fast, and the details of its timing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from harness.measure.cost import cost
from harness.measure.speed_measurement import SpeedMeasurement
from harness.observe.contention import Contention
from harness.options.config import HarnessConfig
from harness.options.devices import device_name
from harness.options.points import Point
from harness.options.words import joined
from harness.stats.speedup import SpeedUp, outliers, verdict
from harness.workload.encode import Workload

AGREED = (
    *("iou_mean", "iou_p1", "iou_min", "max_abs_dlogit", "max_abs_dscore", "max_abs_diou", "gate_flips", "pick_flips"),
)
"""These columns are fields of an `Agreement` by the same names."""


def describe(point: Point, workload: Workload | None = None) -> dict[str, Any]:
    """Return the columns that say what the point is, and with its workload also how large that is."""
    config = point.config
    row: dict[str, Any] = {
        "point": point.name,
        "strategy": point.strategy,
        "variant": point.variant,
        "model": config.model.name,
        "data": config.data.name,
        "dtype": config.dtype,
        "scenario": config.scenario,
        "batch": config.videos if config.scenario == "stream" else config.batch,
        "objects": config.objects,
        "refs": config.refs,
        "targets": config.targets,
        "repeat": config.repeat,
        "options": joined(point.words),
        "command": point.command,
    }
    if workload is not None:
        groups = [encoded.group for encoded in workload.groups]
        row["device"] = device_name(workload.model.device)
        row["objects"] = max(len(group.object_ids[: config.objects]) for group in groups)
        row["refs"] = max(len(group.references) for group in groups)
        row["targets"] = sum(len(group.targets) for group in groups)
    return row


def speed_columns(point: Point, workload: Workload, timed: SpeedMeasurement) -> dict[str, Any]:
    """Return the columns of a point's speed, without its speed-up."""
    groups = [encoded.group for encoded in workload.groups]
    targets = sum(len(group.targets) for group in groups)
    pairs = sum(len(group.targets) * len(group.object_ids[: point.config.objects]) for group in groups)
    return {
        "fps": timed.pooled.fps,
        "objects_per_s": timed.pooled.fps * pairs / targets,
        "encode_fps": workload.counted.encoded_frames / workload.counted.encode_seconds,
        "cpu_s_per_1000": timed.pooled.cpu_seconds_per_target * 1000,
        "blocks": len(timed.blocks),
        "processes": 1,
        "converged": timed.pooled.converged,
        **contention_columns(timed.contention),
        "reference": point.baseline if point.config.paired else None,
    }


def contention_columns(found: Contention | None) -> dict[str, Any]:
    """Return the columns of what others took of the processors meanwhile."""
    return {} if found is None else {"cpu_others": found.others, "disturbed": found.disturbed}


def speedup_columns(speedup: SpeedUp | None, same: float) -> dict[str, Any]:
    """Return the columns of a speed-up. same: the band in which the verdict may be "same"."""
    if speedup is None:
        return {}
    return {
        "speedup": speedup.ratio,
        "speedup_lo": speedup.lo,
        "speedup_hi": speedup.hi,
        "verdict": verdict(speedup, band=same),
    }


def cost_columns(
    config: HarnessConfig,
    *,
    fps: float,
    encode_fps: float | None,
    flops_per_target: float | None,
    matrix_rate: float | None,
) -> dict[str, Any]:
    """Return the columns of what a speed costs; `harness.measure.cost.cost` explains the arguments.

    Where the whole job is timed, encoding is in ``fps``, and so is more than the arithmetic that is counted.
    """
    whole = config.scenario == "job"
    found = cost(
        fps=fps,
        encode_fps=None if whole else encode_fps,
        flops_per_target=flops_per_target,
        matrix_rate=matrix_rate,
        project_to=config.project_to,
    )
    stages = (found.projected_predict_s, found.projected_encode_s)
    return {
        "gflop_per_target": found.gflops_per_target,
        "gflop_per_s": None if whole else found.achieved_gflops_per_s,
        "matrix_gflop_per_s": found.matrix_gflops_per_s,
        "matrix_share": None if whole else found.matrix_share,
        "projected_min": sum(seconds for seconds in stages if seconds is not None) / 60,
    }


def timing_details(timed: SpeedMeasurement) -> dict[str, Any]:
    """Return what is kept of a process's timing beside its blocks."""
    return {
        **ratio_details(timed.log_ratios),
        "timed_targets": timed.targets,
        "warm_ups": {
            group: {side: [asdict(one) for one in warmed] for side, warmed in sides.items()}
            for group, sides in timed.warm_ups.items()
        },
        "alternating": timed.alternating,
        "contention": None if timed.contention is None else timed.contention.as_json(),
    }


def ratio_details(log_ratios: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Return the rounds of each group, and which of them are outliers."""
    return {"log_ratios": log_ratios, "outliers": {group: outliers(ratios) for group, ratios in log_ratios.items()}}
