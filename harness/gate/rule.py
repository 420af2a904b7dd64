"""The rule of the regression gate: a run against a snapshot, point by point and quantity by quantity.

============  =====================================  =================================
quantity      comparison                             regressed where all of it is
============  =====================================  =================================
speedup       new / old, of the paired speed-ups     below 1 / (1 + margin)
iou_*, jf     new - old                              below -margin
*_mb          old / new                              below 1 / (1 + margin)
status                                               neither ok nor as in the snapshot
============  =====================================  =================================

The quantities are the columns of `harness.row.Row` that say how the gate compares them.

Only speed-ups have intervals, because masks come out the same each time, and memory is measured once. Speed-ups are
ratios from one run each, so they can be compared between machines as far as the two strategies react alike to the
machine; memory is compared on the snapshot's own device only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.gate.snapshot import Record, Snapshot
from harness.options.config import MarginsConfig
from harness.row import CATALOGUE, GATED
from harness.stats.interval import Decision, Interval, difference, judge, quotient

State = Decision | Literal["new", "missing"]
PASS, REGRESSED, UNCLEAR = 0, 1, 3
"""Exit codes."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The result of comparing one quantity of one point.

    state: a decision, or "new" for what the snapshot lacks and "missing" for what was not measured this time. old, new:
    None where the snapshot lacks it, or where it was not measured. comparison: the interval that the rule's table
    defines, None where nothing was compared. least: the comparison from which on it is no regression. detail: an
    explanation besides the numbers. command: the one that measures the point again.
    """

    key: str
    quantity: str
    state: State
    old: Interval | None = None
    new: Interval | None = None
    comparison: Interval | None = None
    least: float | None = None
    detail: str = ""
    command: str

    @property
    def unclear_speedup(self) -> bool:
        """Whether a speed-up was compared, and its intervals do not say whether it regressed."""
        return self.state == "unclear" and self.quantity == "speedup" and self.comparison is not None

    @property
    def snapshot_decides(self) -> bool:
        """Whether the snapshot's interval alone makes this time's value unclear, however precisely it is known."""
        return self.new is not None and self._unclear_at(self.new.value)

    @property
    def retryable(self) -> bool:
        """Whether longer timing may decide what is unclear now.

        It may where one of the ends of this time's interval would be clear, because the value may turn out to be there.
        """
        return self.unclear_speedup and not (
            self.new is not None and self._unclear_at(self.new.lo) and self._unclear_at(self.new.hi)
        )

    def _unclear_at(self, value: float) -> bool:
        """Return whether a speed-up of exactly this value would be unclear beside the snapshot's interval."""
        if self.old is None or self.least is None:
            return False
        return judge(quotient(Interval.exact(value), self.old), least=self.least) == "unclear"


def compare(old: Snapshot, new: Snapshot, margins: MarginsConfig) -> list[Finding]:
    """Return all findings, point by point; a point that did not end well has only one of its status."""
    alike = old.device == new.device
    quantities = [name for name in GATED if alike or CATALOGUE[name].gate != "memory"]
    findings: list[Finding] = []
    for key in sorted(old.points.keys() | new.points.keys()):
        before, now = old.points.get(key), new.points.get(key)
        if now is None:
            assert before is not None
            findings.append(
                Finding(
                    key=key,
                    quantity="status",
                    state="missing",
                    detail="the snapshot has it, and it was not measured",
                    command=before.command,
                )
            )
            continue
        findings.append(_status(key, before, now))
        if now.status == "ok":
            findings += [
                finding for name in quantities if (finding := _quantity(key, name, before, now, margins)) is not None
            ]
    return findings


def too_wide(snapshot: Snapshot, margins: MarginsConfig) -> list[Finding]:
    """Return as unclear the speed-ups beside which equal code, measured as precisely again, may not pass.

    Each is compared with itself and may lose half of the margin, by its logarithm. The other half is for the two
    measurements of equal code, which scatter: where the interval of their quotient, which lies around 1 here, keeps to
    one half, their own quotient does so in 97.5 % of all cases, so that its interval keeps to the margin.
    """
    half = replace(margins, speedup=math.sqrt(1 + margins.speedup) - 1)
    return [one for one in compare(snapshot, snapshot, half) if one.unclear_speedup]


def exit_code(findings: Sequence[Finding], *, subset: bool) -> int:
    """Return the exit code, in which regressed wins over unclear.

    subset: whether points that were not measured are of no concern. Where nothing could be compared, nothing passes:
    else a gate whose points were all renamed would be green.
    """
    states = {finding.state for finding in findings}
    if "regressed" in states:
        return REGRESSED
    open_questions = {"unclear"} if subset else {"unclear", "missing"}
    return UNCLEAR if states & open_questions or "pass" not in states else PASS


def _status(key: str, old: Record | None, new: Record) -> Finding:
    def found(state: State, detail: str) -> Finding:
        return Finding(key=key, quantity="status", state=state, detail=detail, command=new.command)

    ended = new.status if new.reason is None else f"{new.status}: {new.reason}"
    if old is None:
        if new.status in ("ok", "skipped"):
            return found("new", f"{ended}; the snapshot does not have this point")
        return found("regressed", f"{ended}; the snapshot does not have this point, which would excuse it")
    if new.status == old.status:
        return found("pass", ended if new.status == "ok" else f"{ended}; as in the snapshot")
    if new.status == "ok":
        return found("pass", f"ok; {old.status} in the snapshot")
    return found("unclear" if new.status == "skipped" else "regressed", f"{ended}; {old.status} in the snapshot")


def _quantity(key: str, name: str, old: Record | None, new: Record, margins: MarginsConfig) -> Finding | None:
    """Return what is found of a quantity, or None where neither side has it."""
    before, now = None if old is None else old.interval(name), new.interval(name)

    def found(
        state: State, detail: str = "", comparison: Interval | None = None, least: float | None = None
    ) -> Finding:
        return Finding(
            key=key,
            quantity=name,
            state=state,
            old=before,
            new=now,
            comparison=comparison,
            least=least,
            detail=detail,
            command=new.command,
        )

    if now is None:
        return None if before is None else found("unclear", "not measured this time, or without an interval")
    if name == "speedup" and before is None and old is not None and old.status == "ok":
        return found("unclear", "the snapshot has this point without its speed-up; write it anew with --update")
    if old is None or before is None:
        return found("new", "the snapshot does not have it")
    if name == "speedup" and old.baseline != new.baseline:
        return found("unclear", f"over {new.baseline}; in the snapshot over {old.baseline}")
    comparison, least = comparison_of(name, before, now, margins)
    return found(judge(comparison, least=least), "", comparison, least)


def comparison_of(name: str, old: Interval, new: Interval, margins: MarginsConfig) -> tuple[Interval, float]:
    """Compare a quantity so that small values are worse; return also the least value that is no regression."""
    match CATALOGUE[name].gate:
        case "ratio":
            return quotient(new, old), 1 / (1 + margins.speedup)
        case "memory":
            return quotient(old, new), 1 / (1 + margins.memory)
        case _:
            return difference(new, old), -float(getattr(margins, name))
