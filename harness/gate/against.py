"""The gate without a snapshot: each point against the committed code of its own strategy (``check.against=git:main``).

Both versions are alive in one process, on the same inputs, and take turns as strategy and baseline strategy do anyway.
So a regression is a ratio of like with like, and what a neighbour does to the machine it does to both. Speed is judged
by the rule for snapshots, and so are the masks of a strategy that is not exact. Those of an exact one are compared with
`sequential` and with the committed code's in every timed block, which shows in the status. Memory is not compared,
because both versions share the process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.gate.attempts import last
from harness.gate.committed import committed_options
from harness.gate.revision import Revision, place_of
from harness.gate.rule import Finding, State, comparison_of
from harness.options.config import MarginsConfig
from harness.options.points import Point
from harness.row import Row
from harness.stats.interval import Interval, judge
from harness.store.point_key import attempts, key_of

MASKS = ("iou_mean", "iou_min")
"""What is compared of the masks of strategies that are not exact."""
BASELINE_IS_WRONG = "the baseline strategy itself is wrong"


@dataclass(frozen=True, kw_only=True)
class Against:
    """Points beside their committed code. new: why a point has none, by its key; it is measured as usual."""

    revisions: Sequence[Revision]
    points: Sequence[Point]
    new: Mapping[str, str]

    @staticmethod
    def of(points: Sequence[Point], against: str) -> Against:
        """Find the committed code of each point's strategy. Raises UserError where there is no such revision."""
        found, new, revisions = [], {}, dict[Path, Revision]()
        for point in points:
            target = str(point.config.strategy["_target_"])
            place = place_of(target)
            if place not in revisions:
                revisions[place] = Revision.of(against, place)
            revision = revisions[place]
            if revision.has(target):
                point = _beside(point, revision)
            else:
                new[key_of(point)] = (
                    f"commit {revision.commit[:8]} has no {target}; there is nothing to compare it with"
                )
            found.append(point)
        return Against(revisions=list(revisions.values()), points=found, new=new)

    def notes(self, against: str) -> list[str]:
        return [
            f"Compared with {against} of {revision.place}, commit {revision.commit[:8]}, alive in the same processes: "
            "changes of speed are those of paired blocks, and memory is not compared."
            for revision in self.revisions
        ]

    def findings(self, run: Path, margins: MarginsConfig) -> list[Finding]:
        """Return what is found of each point, by the result in the run that counts."""
        results = {key: last(found) for key, found in attempts(run).items()}
        found: list[Finding] = []
        for key in sorted(results.keys() & {key_of(point) for point in self.points}):
            row = results[key].row
            found.append(_status(key, row, self.new.get(key)))
            if row.status == "ok" and key not in self.new:
                found += [_speedup(key, row, margins), *_masks(key, row, results[key].details, margins)]
        return found


def _beside(point: Point, revision: Revision) -> Point:
    """Return the point with the committed code of its own strategy as its baseline strategy."""
    config = point.config
    return replace(
        point,
        baseline=f"{point.strategy}@{revision.commit[:8]}",
        baseline_words=(),
        config=replace(config, baseline=committed_options(config, revision.commit), paired=True),
    )


def _status(key: str, row: Row, new: str | None) -> Finding:
    ended = row.status if row.reason is None else f"{row.status}: {row.reason}"
    state: State = "pass" if new is None else "new"
    if row.status == "skipped" or BASELINE_IS_WRONG in (row.reason or ""):
        state = "unclear" if new is None else "new"
    elif row.status != "ok":
        state = "regressed"
    detail = ended if new is None else f"{ended}; {new}"
    return Finding(key=key, quantity="status", state=state, detail=detail, command=row.command)


def _speedup(key: str, row: Row, margins: MarginsConfig) -> Finding:
    least = 1 / (1 + margins.speedup)
    if row.speedup is None or row.speedup_lo is None or row.speedup_hi is None:
        detail = f"not timed beside the committed code, or without an interval ({row.reason or 'too few rounds'})"
        return Finding(key=key, quantity="speedup", state="unclear", detail=detail, command=row.command)
    ratio = Interval(value=row.speedup, lo=row.speedup_lo, hi=row.speedup_hi)
    return Finding(
        key=key,
        quantity="speedup",
        state=judge(ratio, least=least),
        new=ratio,
        comparison=ratio,
        least=least,
        detail=f"over {row.reference}",
        command=row.command,
    )


def _masks(key: str, row: Row, details: Mapping[str, Any], margins: MarginsConfig) -> list[Finding]:
    """Compare how far both versions of a strategy that is not exact agree with `sequential`, in the timed blocks."""
    old, new = details.get("baseline_agreement_of_timed_blocks"), details.get("agreement_of_timed_blocks")
    if not isinstance(old, dict) or not isinstance(new, dict):
        return []
    found = []
    for name in MASKS:
        before, now = Interval.exact(float(old[name])), Interval.exact(float(new[name]))
        comparison, least = comparison_of(name, before, now, margins)
        found.append(
            Finding(
                key=key,
                quantity=name,
                state=judge(comparison, least=least),
                old=before,
                new=now,
                comparison=comparison,
                least=least,
                command=row.command,
            )
        )
    return found
