"""``python -m harness.certify [KEY=VALUE ...]``: how reliable this harness is on this machine.

A strategy against itself (A/A) shows how often the harness sees a difference where there is none; the same strategy
slowed down by known shares shows how small a difference it finds (DESIGN section 4, rule 5). Each comparison is a grid
point like any other, in a process of its own; the certificate is read off the run's rows and stored as
``results/certificates/<device>.json``, from where reports show it.

Exit codes: 0 certified; 2 bad input, or not every comparison was made, as when it was interrupted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from harness.cli import measure
from harness.commands.certify_masks import certify_masks
from harness.commands.one_point import one_point
from harness.guard import guarded
from harness.options.points import Point
from harness.row import Row
from harness.store.certificate import Certificate, Effect, Share, store
from harness.store.recorded import environment_of
from harness.store.results import RunFolder
from strategies.errors import UserError

RELIABLE = 0.9
"""Share of comparisons that must show an effect for it to count as found reliably."""
ONE_POINT = {"strategy": "direct", "batch": "8", "objects": "null"}
"""Options for which the default sweep would list several values."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of the exit codes above."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["masks"]:
        return guarded(lambda: certify_masks(given[1:]))
    return guarded(lambda: _certify(given))


def _certify(arguments: list[str]) -> int:
    point = one_point(arguments, command="certify", defaults=ONE_POINT)
    if point is None:
        return 0
    grid = comparisons(point)
    code, run = measure(grid)
    if code:  # A certificate of what was measured so far would replace a whole one.
        raise UserError(f"not every comparison of {run.path} was made: give the same command again with resume=true")
    certificate = certificate_of(run, grid)
    if certificate is None:
        raise UserError(f"no comparison of {run.path} came to an end: see its report")
    path = store(certificate, run.path.parent / "certificates")
    _print_certificate(certificate, path)
    return code


def comparisons(point: Point) -> list[Point]:
    """Return the grid, which is the point's strategy against itself, and against itself throttled."""
    options = point.config.certify
    plan = [(0.0, number) for number in range(options.comparisons)]
    plan += [(slowdown, number) for slowdown in options.slowdowns for number in range(options.detections)]
    return [_against_itself(point, slowdown, number) for slowdown, number in plan]


def _against_itself(point: Point, slowdown: float, number: int) -> Point:
    options: dict[str, Any] = {
        "strategy": _throttled(point.config.strategy, slowdown),
        "baseline": _throttled(point.config.strategy, 0.0),
        "paired": True,
        "repeat": number,
        "pictures": 0,
    }
    return replace(
        point,
        strategy=f"{point.strategy}-throttled-{slowdown:g}" if slowdown else point.strategy,
        baseline=point.strategy,
        baseline_words=(),
        config=replace(point.config, **options),
    )


def _throttled(strategy: dict[str, Any], share: float) -> dict[str, Any]:
    inner = {"strategy": strategy, "share": share, "_recursive_": False}  # It makes the strategy in it by itself.
    return {"_target_": "harness.commands.throttled.Throttled", **inner}


def certificate_of(run: RunFolder, grid: Sequence[Point]) -> Certificate | None:
    """Make a certificate of a run that measured ``grid``; returns None where no A/A comparison came to an end."""
    rows = {row.point: row for row in run.rows if row.speedup_lo is not None}
    by_slowdown: dict[float, list[Row]] = {}
    for point in grid:
        if point.name in rows:
            by_slowdown.setdefault(point.config.strategy["share"], []).append(rows[point.name])
    alike = by_slowdown.pop(0.0, [])
    if not alike:
        return None
    effects = [_effect(slowdown, found) for slowdown, found in sorted(by_slowdown.items())]
    config, environment = grid[0].config, environment_of(run.path)
    objects = alike[0].objects
    assert objects is not None  # A point that was measured has them.
    return Certificate(
        device=environment.device,
        made=datetime.now().astimezone().isoformat(timespec="seconds"),
        git_commit=environment.git_commit,
        strategy=grid[0].strategy,
        model=config.model.name,
        dtype=config.dtype,
        batch=config.batch,
        objects=objects,
        same=config.timing.same,
        false_alarms=Share.of(row.verdict in ("faster", "slower") for row in alike),
        effects=effects,
        smallest_detected=_smallest(effects),
        run=run.path.name,
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
        if effect.detected.rate < RELIABLE:
            break
        smallest = effect.slowdown
    return smallest


def _print_certificate(certificate: Certificate, path: Path) -> None:
    alarms, smallest = certificate.false_alarms, certificate.smallest_detected
    console = Console(soft_wrap=True, highlight=False)
    console.print(
        f"false alarms: {alarms.found} of {alarms.count} comparisons of {certificate.strategy} with itself "
        f"({alarms.rate:.1%}; 95 % interval {alarms.lo:.1%} to {alarms.hi:.1%})"
    )
    for effect in certificate.effects:
        found = effect.detected
        console.print(
            f"slowed by {effect.slowdown:.0%}: found {found.found} of {found.count} times, "
            f"median speed-up {effect.median_speedup:.3f}"
        )
    shown = "none of these" if smallest is None else f"{smallest:.0%}"
    console.print(f"smallest slow-down found reliably: {shown}\ncertificate: {path}")
