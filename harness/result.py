"""The result of one grid point: its row (`harness.row`), its timed blocks and everything else that was measured."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from harness.row import Row

SideName = Literal["baseline", "candidate"]
SIDES: dict[str, SideName] = {"baseline": "baseline", "candidate": "candidate", "reference": "baseline"}
"""Sides by the names that files hold; a baseline strategy was called a reference before."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """One timed pass; ``place`` is its place in its round, ``cpu_seconds`` the process's CPU time meanwhile."""

    group: str
    round: int
    place: int
    side: SideName
    targets: int
    seconds: float
    cpu_seconds: float


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
    def from_json(content: dict[str, Any]) -> PointResult:
        """Read what `asdict` gave, also when the baseline was called the reference.

        Raises ValueError for anything else.
        """
        try:
            return PointResult(
                row=Row.from_json(content["row"]),
                config=content["config"],
                samples=[Block(**block | {"side": SIDES[block["side"]]}) for block in content["samples"]],
                details=content["details"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a result: {error}") from error
