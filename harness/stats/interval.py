"""What changed between two measurements, and what its interval allows to say."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Decision = Literal["pass", "regressed", "unclear"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value between the ends of its interval. ValueError where they are not finite and in this order."""

    value: float
    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lo) and math.isfinite(self.hi) and self.lo <= self.value <= self.hi):
            raise ValueError(f"not an interval around a value: {self.lo} {self.value} {self.hi}")

    @staticmethod
    def exact(value: float) -> Interval:
        """Of what comes out the same each time it is measured, and of what was measured once."""
        return Interval(value=value, lo=value, hi=value)


def quotient(new: Interval, old: Interval) -> Interval:
    """new / old, where both are positive and were measured independently.

    With a = log new and b = log old, the ends are those of Zou and Donner (2008, "MOVER"), which add up the two
    one-sided reaches as standard errors add up, and need no symmetric intervals::

        lo = a - b - hypot(a - a.lo, b.hi - b)        hi = a - b + hypot(a.hi - a, b - b.lo)

    Of two 95 % intervals it is one of 95 %. ValueError where an end is not positive.
    """
    if not (new.lo > 0 and old.lo > 0):
        raise ValueError(f"quotients are of positive intervals, not {new} and {old}")
    a, a_lo, a_hi = (math.log(end) for end in (new.value, new.lo, new.hi))
    b, b_lo, b_hi = (math.log(end) for end in (old.value, old.lo, old.hi))
    return Interval(
        value=math.exp(a - b),
        lo=math.exp(a - b - math.hypot(a - a_lo, b_hi - b)),
        hi=math.exp(a - b + math.hypot(a_hi - a, b - b_lo)),
    )


def difference(new: Interval, old: Interval) -> Interval:
    """new - old, in the same way without the logarithms."""
    middle = new.value - old.value
    return Interval(
        value=middle,
        lo=middle - math.hypot(new.value - new.lo, old.hi - old.value),
        hi=middle + math.hypot(new.hi - new.value, old.value - old.lo),
    )


def judge(change: Interval, *, least: float) -> Decision:
    """Whether a change, which is for the worse where it is small, is at least ``least``.

    "pass" and "regressed" only if the whole interval is on that side, else "unclear".
    """
    if change.lo >= least:
        return "pass"
    return "regressed" if change.hi < least else "unclear"
