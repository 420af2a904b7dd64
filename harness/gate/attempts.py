"""Which of a point's results in a run counts, where the gate measured the point more than once.

A result that was cut off, by ``minutes``, by ``timeout`` or by a person, counts only where there is no other, and then
without its speed-up: the interval of one process is not that of three. Where the result that counts is not the only
one, its reason says what became of the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.row import Status
from harness.store.point_key import Measured, attempts, last_complete


def last(results: Sequence[Measured]) -> Measured:
    """Return what counts for a check: the last complete result, however it ended.

    So a retry that fails counts, because that the code can fail is a fact about it.
    """
    return _explained(last_complete(results), results)


def narrowest(results: Sequence[Measured]) -> Measured:
    """Return what a snapshot keeps: of the complete results that are ok, the one with the narrowest interval.

    Where none is ok it is the one that counts for a check.
    """
    good = [one for one in results if _good(one)]
    return _explained(min(good, key=_width), results) if good else last(results)


def failed_again(run: Path) -> dict[str, Status]:
    """Return how the points ended, by key, that were ok, and were not when they were measured again."""
    return {
        key: results[-1].row.status
        for key, results in attempts(run).items()
        if results[-1].row.status != "ok" and any(map(_good, results))
    }


def _good(one: Measured) -> bool:
    return one.complete and one.row.status == "ok"


def _width(one: Measured) -> float:
    row = one.row
    return float("inf") if row.speedup_lo is None or row.speedup_hi is None else row.speedup_hi / row.speedup_lo


def _explained(chosen: Measured, results: Sequence[Measured]) -> Measured:
    """Return the result that counts with a reason that tells of the last one, or of those before it."""
    row, latest = chosen.row, results[-1]
    if row.status == "ok" and not chosen.complete:
        row = replace(row, speedup=None, speedup_lo=None, speedup_hi=None, verdict=None)
        note = _cut_off(chosen)
    elif row.status != "ok" and any(map(_good, results)):
        note = "it was ok at first, and ended so when it was measured again"
    elif latest is chosen or (latest.complete and latest.row.status == "ok"):
        return chosen
    elif latest.row.status == "ok":
        note = f"measured again, it was cut off ({_cut_off(latest)}), so the result before counts"
    else:
        note = f"measured again, it ended otherwise ({latest.row.status}: {latest.row.reason})"
    return replace(chosen, row=replace(row, reason="; ".join(filter(None, (row.reason, note)))))


def _cut_off(one: Measured) -> str:
    return f"only {one.row.processes or 1} of {one.processes} processes have measured it"
