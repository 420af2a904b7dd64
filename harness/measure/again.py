"""The speed of a point, timed once more in another process: masks of timed blocks are checked, nothing else is."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import asdict

from harness.measure.columns import describe, speed_columns, speedup_columns, timing_details
from harness.measure.compared import Compared, OnStage
from harness.measure.correctness import Meters
from harness.measure.judge import Judged
from harness.measure.making import make_strategy
from harness.measure.scenarios import scenario_of
from harness.measure.speed import measure_speed
from harness.measure.timing import Clock, device_clock
from harness.options.points import Point
from harness.result import PointResult
from harness.row import Row
from harness.workload.encode import Workload


def time_again(
    point: Point, workload: Workload, *, clock: Clock | None = None, on_stage: OnStage = lambda _: None
) -> PointResult:
    """Time a point whose masks another process has verified; its status is ``ok``, or ``wrong`` by its timed blocks."""
    config, model = point.config, workload.model
    compared, meters = Compared.of(config, workload, on_stage), Meters()
    baseline = make_strategy(config.baseline, model) if config.paired else None
    with make_strategy(config.strategy, model) as candidate, baseline or nullcontext():
        on_stage("timing")
        scenario = scenario_of(
            config, workload, candidate=candidate, baseline=baseline, expected=compared.expected, meters=meters
        )
        timed = measure_speed(scenario, config.timing, seed=config.seed, clock=clock or device_clock(model.device))
        findings = scenario.findings(timed, first=False)
        on_stage("judging the masks")
        judged = Judged.of(meters, compared.judge, candidate, baseline)
    reason = judged.reason(candidate, baseline) or findings.fault
    agreed = judged.timed.agreed
    return PointResult(
        row=Row(
            **describe(point, workload),
            status="ok" if reason is None else "wrong",
            reason=reason or timed.note,
            **speed_columns(point, workload, timed),
            **(speedup_columns(timed.pooled.speedup, config.timing.same) if reason is None else {}),
            checked_calls=judged.calls,
            **findings.columns,
        ),
        config=point.options,
        samples=timed.blocks,
        details={**timing_details(timed), "agreement_of_timed_blocks": None if agreed is None else asdict(agreed)},
    )
