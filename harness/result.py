"""The result of one grid point: its row (`harness.row`), its timed blocks and everything else that was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from harness.row import Row
from harness.schema import Count, Number, StrictStr, fitted

SideName = Literal["baseline", "candidate"]
SIDES: dict[str, SideName] = {"baseline": "baseline", "candidate": "candidate", "reference": "baseline"}
"""Sides by the names that files hold; a baseline strategy was called a reference before."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One timed pass; ``place`` is its place in its round, ``cpu_seconds`` the process's CPU time meanwhile.

    process: which of the point's processes timed it, from 0.
    """

    group: StrictStr
    round: Count
    place: Count
    side: SideName
    targets: Count
    seconds: Number
    cpu_seconds: Number
    process: Count = 0


def _by_todays_names(block: object) -> object:
    if not isinstance(block, dict) or not isinstance(side := block.get("side"), str):
        return block
    return block | {"side": SIDES.get(side, side)}


@dataclass(frozen=True, kw_only=True)
class PointResult:
    """The result of one grid point.

    config: the point's resolved options. samples: every timed block, in order. details: per-object agreement and
    scores, what was warmed up, sampled series and so on.
    """

    row: Row
    config: dict[str, Any]
    samples: list[Block] = field(default_factory=list)
    details: dict[str, Any] = field(default_factory=dict)

    @staticmethod
    def from_json(content: object) -> PointResult:
        """Read what `asdict` gave, also when the baseline was called the reference.

        Raises ValueError for anything else.
        """
        stored = fitted(_Stored, content)
        return PointResult(
            row=Row.from_json(stored.row), config=stored.config, samples=stored.samples, details=stored.details
        )


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """A result as JSON has it; `Row` checks the row."""

    row: dict[str, Any]
    config: dict[str, Any]
    samples: list[Annotated[Block, BeforeValidator(_by_todays_names)]]
    details: dict[str, Any]
