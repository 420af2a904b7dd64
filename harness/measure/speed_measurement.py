"""The speed of a point in one process, as it was timed: what timing gives, and scenarios and columns take."""

from __future__ import annotations

from dataclasses import dataclass, field

from harness.measure.pairing import WarmUp
from harness.measure.pooled import Pooled
from harness.observe.contention import Contention
from harness.result import Block, SideName


@dataclass(frozen=True, kw_only=True)
class SpeedMeasurement:
    """The speed of one point as it was timed.

    targets: how many each timed group has. note: why no pair was timed, where one should have been.
    warm_ups: how each side was warmed up, by group. alternating: whether the two sides did not fit in memory together,
    so that each was prepared anew for its blocks. contention: what others took of the processors meanwhile.
    """

    blocks: list[Block] = field(repr=False)
    log_ratios: dict[str, list[float]]
    targets: dict[str, int]
    pooled: Pooled
    warm_ups: dict[str, dict[SideName, list[WarmUp]]]
    alternating: bool
    contention: Contention | None
    note: str | None
