"""The measurement of one grid point: whether its masks are right, how fast it is, and at what cost.

It runs in the point's own process.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from statistics import mean, median
from typing import Any

import torch

from harness.masks.pictures import PictureBook
from harness.masks.rule import Agreement, NoiseFloor, rarest_fault
from harness.masks.scores import Scores
from harness.measure.columns import AGREED, cost_columns, describe, speed_columns, speedup_columns, timing_details
from harness.measure.compared import Compared, OnStage
from harness.measure.correctness import Meters, Verified, verify
from harness.measure.cost import measure_copy_rate, measure_matrix_rate
from harness.measure.fp32 import certify_in_fp32
from harness.measure.judge import Judged
from harness.measure.making import make_strategy
from harness.measure.scenarios import scenario_of
from harness.measure.speed import measure_speed, run_sustained
from harness.measure.stages import StageTimes, time_stages
from harness.measure.timing import Clock, device_clock
from harness.observe.monitor import SUSTAINED
from harness.options.config import HarnessConfig
from harness.options.points import Point
from harness.result import PointResult
from harness.row import Row
from harness.workload.encode import Workload
from strategies.base import Strategy
from strategies.components.sdpa import observed
from strategies.errors import out_of_memory
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions


def measure_point(
    point: Point,
    workload: Workload,
    pictures: PictureBook,
    *,
    clock: Clock | None = None,
    on_stage: OnStage = lambda _: None,
) -> PointResult:
    """Measure a point; its status is ``ok`` or ``wrong``, and whatever the strategy raises comes through."""
    config, model = point.config, workload.model
    clock = clock or device_clock(model.device)
    compared, meters = Compared.of(config, workload, on_stage), Meters()
    expected = compared.expected
    baseline = make_strategy(config.baseline, model) if config.paired else None
    with make_strategy(config.strategy, model) as candidate, baseline or nullcontext():
        on_stage("checking the masks")
        verified = verify(point, workload, candidate, expected=expected, meters=meters, pictures=pictures, clock=clock)
        on_stage("timing")
        scenario = scenario_of(
            config, workload, candidate=candidate, baseline=baseline, expected=expected, meters=meters
        )
        timed = measure_speed(scenario, config.timing, seed=config.seed, clock=clock)
        findings = scenario.findings(timed, first=True)
        sustained = None
        if model.device.type == "cuda" and config.timing.sustained_seconds > 0:
            sustained = run_sustained(
                scenario.timed_groups()[0],
                targets_per_call=min(config.batch, len(workload.groups[0].targets)),
                seconds=config.timing.sustained_seconds,
                clock=clock,
                begin=lambda: on_stage(SUSTAINED),
            )
        on_stage("watching a batch")
        attention, stages = _watch(config, workload, candidate, clock) or (Counter[str](), None)
        on_stage("judging the masks")
        judged = Judged.of(meters, compared.judge, candidate, baseline)
    on_stage("measuring the matrix rate")
    matrix_rate = _unless_too_large(lambda: _matrix_rate(model, config.dtype, clock))
    copy_rate = _unless_too_large(lambda: measure_copy_rate(model.device, clock))
    in_fp32 = None
    if config.compare and model.dtype != "fp32":
        on_stage("certifying the strategy in fp32")
        in_fp32 = certify_in_fp32(point, workload)
    reason = judged.reason(candidate, baseline) or findings.fault
    if reason is None and candidate.exact and in_fp32 is not None and in_fp32.masks == "differ":
        reason = f"in fp32, where noise hides less: {in_fp32.note}"
    agreed, scored = judged.once.agreed, meters.scores.result()
    return PointResult(
        row=Row(
            **describe(point, workload),
            status="ok" if reason is None else "wrong",
            reason=reason or timed.note or (in_fp32.note if in_fp32 is not None and in_fp32.masks is None else None),
            **speed_columns(point, workload, timed),
            **(speedup_columns(timed.pooled.speedup, config.timing.same) if reason is None else {}),
            pairs_at_once=candidate.pairs_at_once,
            sdpa="+".join(backend for backend, _ in attention.most_common()) or None,
            **_memory(verified, candidate),
            **cost_columns(
                config,
                fps=timed.pooled.fps,
                encode_fps=workload.counted.encoded_frames / workload.counted.encode_seconds,
                flops_per_target=verified.flops_per_target,
                matrix_rate=matrix_rate,
            ),
            **findings.columns,
            copy_gb_per_s=None if copy_rate is None else copy_rate / 1e9,
            masks=judged.masks,
            fp32_masks=None if in_fp32 is None else in_fp32.masks,
            checked_calls=judged.calls,
            **_columns(agreed, AGREED),
            **_columns(scored, ("j", "f", "jf")),
        ),
        config=point.options,
        samples=timed.blocks,
        details={
            "bank_seconds": verified.bank_seconds,
            "encoder": _encoder(workload, matrix_rate),
            **timing_details(timed),
            "sustained": None if sustained is None else asdict(sustained),
            "sdpa": dict(attention),
            "stages": None if stages is None else asdict(stages),
            "agreement": _dict(agreed),
            "agreement_of_timed_blocks": _dict(judged.timed.agreed),
            "baseline_agreement": _dict(judged.of_baseline.agreed),
            "baseline_agreement_of_timed_blocks": _dict(judged.of_baseline_timed),
            "noise_floor": _dict(compared.noise),
            "limits": None if compared.judge is None else asdict(compared.judge.limits),
            "share_of_limits": judged.share_of_limits,
            "rarest_fault": rarest_fault(judged.calls) if judged.calls else None,
            "worth": None if expected is None else _worth(expected),
            "in_fp32": None if in_fp32 is None else asdict(in_fp32),
            "scores": _dict(scored),
            "job": findings.details or None,
            "warnings": verified.warnings,
        },
    )


def _worth(expected: Sequence[Predictions]) -> dict[str, float]:
    """Return numbers that tell what agreement on these predictions is worth.

    Where every gate is closed, strategies agree on masks that nobody computed, and where one candidate is always the
    best, on a choice that nobody made.
    """
    scores = torch.cat([one.object_scores.flatten() for one in expected])
    picks = torch.cat([one.picks.flatten() for one in expected])
    commonest = int(picks.bincount().max())
    return {"open_gates": float((scores > 0).float().mean()), "commonest_pick": commonest / len(picks)}


def _memory(verified: Verified, candidate: Strategy) -> dict[str, Any]:
    banks = (median(seconds) for seconds in verified.bank_seconds.values())
    return {
        "bank_s": mean(banks) if candidate.builds_bank else None,
        "peak_rss_mb": verified.peaks.rss,
        "vram_peak_mb": verified.peaks.allocated,
        "vram_reserved_mb": verified.peaks.reserved,
    }


def _watch(
    config: HarnessConfig, workload: Workload, candidate: Strategy, clock: Clock
) -> tuple[Counter[str], StageTimes] | None:
    """Count which of torch's attention kernels run for a batch of the first group, and time the batch's stages.

    This comes last, because watching takes memory and time; returns None where the memory is not enough. The strategy
    is prepared anew, so that CUDA graphs are recorded meanwhile.
    """
    encoded, device = workload.groups[0], workload.model.device
    batch = encoded.targets[: config.batch].clone().to(device)
    references = encoded.references(device, config.objects)
    assert references.pixels is not None  # The workload's references always have them.
    try:
        candidate.prepare(references)
        with observed() as kernels:
            candidate.predict(batch)
        return kernels, time_stages(candidate, batch, references.pixels[:1], clock=clock, options=config.timing)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return None


def _matrix_rate(model: Tracker, dtype: str, clock: Clock) -> float:
    with model.computing():  # This decides about TF32.
        return measure_matrix_rate(model.device, dtype, clock)


def _unless_too_large(measure: Callable[[], float]) -> float | None:
    """Return a rate, or None where what it takes does not fit: a measured point must not be lost for that."""
    try:
        return measure()
    except Exception as error:
        if not out_of_memory(error):
            raise
        return None


def _encoder(workload: Workload, matrix_rate: float | None) -> dict[str, Any]:
    """Return what the encoder took without reading and storing, its share of the matrix rate, and how far it is off."""
    counted = workload.counted
    share = None if matrix_rate is None else counted.matrix_share(matrix_rate)
    return asdict(counted) | {"matrix_share": share}


def _columns(measured: Agreement | Scores | None, names: tuple[str, ...]) -> dict[str, Any]:
    return {} if measured is None else {name: getattr(measured, name) for name in names}


def _dict(measured: Agreement | Scores | NoiseFloor | None) -> dict[str, Any] | None:
    return None if measured is None else asdict(measured)
