"""The certificate of a run that made the comparisons of `harness.commands.comparisons`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from harness.commands.comparisons import Comparison
from harness.gate.rule import compare
from harness.gate.snapshot import Record, Snapshot
from harness.options.config import MarginsConfig
from harness.row import Row
from harness.store.certificate import Beside, Certificate, Effect, GateRate, Rates, Share
from harness.store.recorded import Environment, environment_of
from harness.store.results import RunFolder

RELIABLE = 0.9
"""Share of comparisons that must show an effect for it to count as found reliably."""
LEAST = 0.5
"""The interval of that share must not reach below this, which takes 6 comparisons at least."""
GATE_SLOWDOWNS = (0.0, 0.05, 0.08, 0.12, 0.2)
"""Shares by which the second measurement of a pair is slowed down for the gate."""


def certificate_of(run: RunFolder, grid: Sequence[Comparison]) -> Certificate | None:
    """Make a certificate of what was measured of ``grid``; returns None where no A/A comparison came to an end."""
    rows = {row.point: row for row in run.rows if row.speedup_lo is not None}
    compared = [one for one in grid if one.point.name in rows]
    config, environment = grid[0].point.config, environment_of(run.path)
    margins = config.check.margins

    def rates(neighbours: int) -> Rates | None:
        here = [one for one in compared if one.neighbours == neighbours]
        by_slowdown: dict[float, list[Row]] = {}
        for one in here:
            if one.kind == "itself":
                by_slowdown.setdefault(one.slowdown, []).append(rows[one.point.name])
        alike = by_slowdown.pop(0.0, [])
        if not alike:
            return None
        effects = [_effect(slowdown, found) for slowdown, found in sorted(by_slowdown.items())]
        return Rates(
            false_alarms=Share.of(row.verdict in ("faster", "slower") for row in alike),
            effects=effects,
            smallest_detected=_smallest(effects),
            gate=_gate([rows[one.point.name] for one in here if one.kind == "gate"], environment, margins),
        )

    alone, planted = rates(0), config.certify.neighbours
    beside = rates(planted) if planted else None
    if alone is None:
        return None
    return Certificate(
        **vars(alone),
        device=environment.device,
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        git_commit=environment.git_commit,
        strategy=grid[0].point.baseline,
        model=config.model.name,
        dtype=config.dtype,
        batch=config.batch,
        objects=max(row.objects or 0 for row in rows.values()),
        same=config.timing.same,
        run=run.path.name,
        beside=None if beside is None else Beside(**vars(beside), neighbours=planted),
        planned=len(grid),
        compared=len(compared),
        minutes=config.certify.minutes,
        effect=config.certify.effect,
        width=config.timing.width,
        gate_margin=margins.speedup,
    )


def _effect(slowdown: float, rows: list[Row]) -> Effect:
    speedups = sorted(row.speedup for row in rows if row.speedup is not None)
    return Effect(
        slowdown=slowdown,
        detected=Share.of(row.speedup_hi is not None and row.speedup_hi < 1 for row in rows),
        median_speedup=speedups[len(speedups) // 2],
    )


def _smallest(effects: Sequence[Effect]) -> float | None:
    """Return the smallest slow-down that was found reliably, as all larger ones were."""
    smallest = None
    for effect in sorted(effects, key=lambda effect: -effect.slowdown):
        if effect.detected.rate < RELIABLE or effect.detected.lo < LEAST:
            break
        smallest = effect.slowdown
    return smallest


def _gate(rows: Sequence[Row], environment: Environment, margins: MarginsConfig) -> list[GateRate]:
    """Return how often the gate's rule calls pairs of measurements regressed, by how much the second is slowed down.

    The first half of the measurements are the snapshots, so that a pair is as far apart in time as the run allows. A
    slow-down divides a speed-up and its interval by a known number, so it is put into the measured numbers.
    """
    half = len(rows) // 2
    pairs = list(zip(rows[:half], rows[half:], strict=False))
    if not pairs:
        return []
    return [_gate_rate(slowdown, pairs, environment, margins) for slowdown in GATE_SLOWDOWNS]


def _gate_rate(
    slowdown: float, pairs: Sequence[tuple[Row, Row]], environment: Environment, margins: MarginsConfig
) -> GateRate:
    def snapshot(row: Row) -> Snapshot:
        return Snapshot(made="", run="", environment=environment, points={"": Record.of(row)})

    found = [
        finding.state
        for old, new in pairs
        for finding in compare(snapshot(old), snapshot(_throttled(new, slowdown)), margins)
        if finding.quantity == "speedup"
    ]
    return GateRate(
        slowdown=slowdown,
        regressed=Share.of(state == "regressed" for state in found),
        passed=Share.of(state == "pass" for state in found),
    )


def _throttled(row: Row, share: float) -> Row:
    assert row.speedup is not None
    assert row.speedup_lo is not None
    assert row.speedup_hi is not None
    times = 1 + share
    return replace(
        row, speedup=row.speedup / times, speedup_lo=row.speedup_lo / times, speedup_hi=row.speedup_hi / times
    )
