"""Which of several measured points to use: the rule of the report's verdict, and of a job's choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.stats.speedup import Verdict


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The speed of one point. fps: targets per second. baseline: what ``lo``, ``hi`` and ``verdict`` are over.

    lo, hi: ends of the speed-up's interval; None where there is none.
    """

    fps: float
    baseline: str | None
    lo: float | None
    hi: float | None
    verdict: Verdict | str | None


@dataclass(frozen=True, kw_only=True)
class Best:
    """The point to use, by its place. paired: whether it was chosen by its speed-up; else by its fps.

    clear: whether it is clearly faster than the baseline. similar: the places of those that may be as fast.
    """

    at: int
    paired: bool
    clear: bool
    similar: tuple[int, ...]


def best(speeds: Sequence[Speed]) -> Best:
    """Choose the point whose speed-up's interval has the highest lower end.

    Where no point has a speed-up, or not all have it over the same baseline, the point with the highest fps is chosen.
    Raises ValueError where there is no point.
    """
    paired = [at for at, one in enumerate(speeds) if one.lo is not None]
    if len({speeds[at].baseline for at in paired}) != 1:
        paired = []
    faster = [at for at in paired if speeds[at].verdict == "faster"]
    ranked = faster or paired or range(len(speeds))
    chosen = max(ranked, key=lambda at: _worth(speeds[at], by_speedup=bool(paired)))
    least = speeds[chosen].lo
    similar = (
        at
        for at, one in enumerate(speeds)
        if (least is not None and one.hi is not None and one.hi >= least)
        or (at not in paired and one.fps > speeds[chosen].fps)
    )
    return Best(at=chosen, paired=bool(paired), clear=bool(faster), similar=tuple(similar))


def _worth(speed: Speed, *, by_speedup: bool) -> float:
    return speed.lo if by_speedup and speed.lo is not None else speed.fps
