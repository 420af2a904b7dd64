"""Quotients and differences of two measurements with their intervals, and what an interval allows to conclude."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Decision = Literal["pass", "regressed", "unclear"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value between the ends of its interval. Raises ValueError unless they are finite and in this order."""

    value: float
    lo: float
    hi: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lo) and math.isfinite(self.hi) and self.lo <= self.value <= self.hi):
            raise ValueError(f"not an interval around a value: {self.lo} {self.value} {self.hi}")

    @staticmethod
    def exact(value: float) -> Interval:
        """Return the interval of a value that is the same each time it is measured, or that was measured only once."""
        return Interval(value=value, lo=value, hi=value)


def quotient(new: Interval, old: Interval) -> Interval:
    """Return new / old, where both are positive and were measured independently.

    With a = log new and b = log old, the ends are those of Zou and Donner (2008, "MOVER"), who add up the two
    one-sided margins of error as standard errors add up, and need no symmetric intervals::

        lo = a - b - hypot(a - a.lo, b.hi - b)        hi = a - b + hypot(a.hi - a, b - b.lo)

    The quotient of two 95 % intervals is a 95 % interval. Raises ValueError where an end is not positive.
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
    """Return new - old with the ends that `quotient` has, without the logarithms."""
    middle = new.value - old.value
    return Interval(
        value=middle,
        lo=middle - math.hypot(new.value - new.lo, old.hi - old.value),
        hi=middle + math.hypot(new.hi - new.value, old.value - old.lo),
    )


def judge(interval: Interval, *, least: float) -> Decision:
    """Decide whether a value of which more is better is at least ``least``.

    The decision is "pass" or "regressed" only if the whole interval is on that side of ``least``, else "unclear".
    """
    if interval.lo >= least:
        return "pass"
    return "regressed" if interval.hi < least else "unclear"
