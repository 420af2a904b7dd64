"""``python -m harness.certify [KEY=VALUE ...]``: how reliable this harness is on this machine.

A strategy against itself (A/A) shows how often the harness sees a difference where there is none; the same strategy
slowed down by known shares shows how small a difference it finds (DESIGN section 4, rule 5). Pairs of measurements as
the regression gate makes them show how often the gate is right. All of it is measured alone, and beside busy processes.
Each comparison is a grid point like any other, in a process of its own; the certificate is read off the run's rows and
stored as ``results/certificates/<device>.json``, from where reports show it.

It keeps a time limit, and then certifies what was compared by then.

Exit codes: 0 certified; 2 bad input, interrupted, or nothing was compared.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from harness.cli import measure
from harness.commands.certificate import certificate_of
from harness.commands.certify_masks import certify_masks
from harness.commands.comparisons import Comparison, comparisons, expected_seconds, limited
from harness.commands.one_point import one_point
from harness.guard import INTERRUPTED, guarded
from harness.options.config import CertifyConfig
from harness.store.certificate import Certificate, Share, in_words, store
from strategies.errors import UserError

ONE_POINT = {"strategy": "direct", "batch": "8", "objects": "null"}
"""Options for which the default sweep would list several values."""
MASKS = "masks"
"""The word that asks for the other certificate, wherever it stands."""
ASKED = 0.95
"""The share of slow-downs by `certify.effect` that is to be found."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns one of the exit codes above."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    words = [word for word in given if word != MASKS]
    return guarded(lambda: _certify(given) if words == given else certify_masks(words))


def _certify(arguments: list[str]) -> int:
    point = one_point(arguments, command="certify", defaults=ONE_POINT)
    if point is None:
        return 0
    options, grid = point.config.certify, comparisons(point)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    errors.print(announcement(grid, options), markup=False)
    code, run = measure([one.point for one in grid], launch=limited(grid, seconds=60 * options.minutes))
    if code == INTERRUPTED:  # A certificate of what was measured so far would replace a whole one.
        raise UserError(f"{run.path} was interrupted: give the same command again with resume=true")
    certificate = certificate_of(run, grid)
    if certificate is None:
        raise UserError(
            f"no comparison of the strategy with itself came to an end within {_minutes(60 * options.minutes)}: see "
            f"the report of {run.path}, or raise certify.minutes="
        )
    path = store(certificate, run.path.parent / "certificates")
    console = Console(soft_wrap=True, highlight=False)
    for line in [*lines_of(certificate), f"certificate: {path}"]:
        console.print(line, markup=False)
    return 0


def announcement(grid: Sequence[Comparison], options: CertifyConfig) -> str:
    """Say how much is compared, and how long that takes: about, on a quiet machine, and at most."""
    counts = Counter(in_words(one.neighbours) for one in grid)
    kinds = ", ".join(f"{count} {words}" for words, count in counts.items())
    timing, expected = grid[0].point.config.timing, expected_seconds(grid)
    text = (
        f"{len(grid)} comparisons ({kinds}) take about {_minutes(expected)} on a quiet machine, each until its "
        f"interval is narrower than {timing.width:.3g} or {timing.max_seconds:g} s are over; after at most "
        f"{_minutes(60 * options.minutes)} (certify.minutes) it certifies what it has"
    )
    if expected > 60 * options.minutes:
        text += f", so raise certify.minutes to {2 * expected / 60:.0f} for all of them"
    return text


def lines_of(certificate: Certificate) -> list[str]:
    """Return the certificate in lines for a terminal."""
    lines = []
    if certificate.planned is not None and certificate.planned != certificate.compared:
        lines.append(
            f"not complete: {certificate.compared} of {certificate.planned} comparisons came to an end within "
            f"{certificate.minutes:g} minutes"
        )
    for condition, rates in certificate.conditions:
        alarms, smallest = rates.false_alarms, rates.smallest_detected
        lines.append(
            f"{condition}: false alarms: {alarms.found} of {alarms.count} comparisons of {certificate.strategy} with "
            f"itself ({rate_of(alarms)})"
        )
        lines += [
            f"{condition}: slowed by {effect.slowdown:.0%}: found {effect.detected.found} of {effect.detected.count} "
            f"times ({rate_of(effect.detected)}), median speed-up {effect.median_speedup:.3f}"
            for effect in rates.effects
        ]
        if rates.effects:
            shown = "none of these" if smallest is None else f"{smallest:.0%}"
            lines.append(f"{condition}: smallest slow-down found reliably: {shown}")
        if certificate.effect is not None:
            lines += _asked(condition, certificate.effect, [one.detected for one in rates.effects])
        lines += [
            f"{condition}: the gate, {f'slowed by {one.slowdown:.0%}' if one.slowdown else 'not slowed'}: regressed "
            f"{one.regressed.found} of {one.regressed.count} ({rate_of(one.regressed)}), passed {one.passed.found}, "
            f"unclear {one.regressed.count - one.regressed.found - one.passed.found}"
            for one in rates.gate
        ]
    return lines


def _asked(condition: str, effect: float, found: Sequence[Share]) -> list[str]:
    """Say for the effect that was asked for whether 95 % of cases are found."""
    return [
        f"{condition}: asked for {ASKED:.0%} of slow-downs by {effect:.0%}: "
        f"{'found so many' if one.rate >= ASKED else 'not reached, so try a quieter machine'}"
        for one in found
    ]


def rate_of(share: Share) -> str:
    return f"{share.rate:.1%}; 95 % interval {share.lo:.1%} to {share.hi:.1%}"


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
