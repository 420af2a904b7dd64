"""The protocol between a kind of work and its timing, which separates the work from how it is timed.

A *scenario* says how the work of a point is cut into timed blocks, and how its outputs are checked. Pairing, warm-up,
statistics and isolation know no more of it than this protocol, so that other kinds of work can be timed by the same
code. `harness.measure.predict` is the scenario of a closed, order-free set of targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from harness.measure.pairing import Side
from harness.measure.speed_measurement import SpeedMeasurement
from harness.result import SideName

Inputs = TypeVar("Inputs")
Outputs = TypeVar("Outputs")
InputsT_co = TypeVar("InputsT_co", covariant=True)
InputsT_contra = TypeVar("InputsT_contra", contravariant=True)
OutputsT_co = TypeVar("OutputsT_co", covariant=True)
OutputsT_contra = TypeVar("OutputsT_contra", contravariant=True)


class ReleasableSide(Side[InputsT_contra, OutputsT_co], Protocol[InputsT_contra, OutputsT_co]):
    """One of the two strategies, for one group at a time."""

    def release(self) -> None:
        """Free what the side holds on the device, so that the other one fits; `ready` takes it back."""


class TimedBlock(Protocol[InputsT_co, OutputsT_contra]):
    """A fixed set of one group's targets that every timed block passes over."""

    @property
    def targets(self) -> int:
        """The number of targets in the block."""

    @property
    def shapes(self) -> Sequence[InputsT_co]:
        """The inputs of each further shape that occurs in a block, for which both sides are warmed up as well."""

    def inputs(self, turn: int) -> InputsT_co:
        """Return the inputs of one turn; each turn's are different, so that cached outputs are wrong."""

    def check(self, turn: int, of_baseline: OutputsT_contra | None, of_candidate: OutputsT_contra) -> None:
        """Record how far the candidate's outputs of a turn are right; the baseline's are None where it is not timed."""


class GroupWork(Protocol[Inputs, Outputs]):
    """The work that is timed of one group."""

    @property
    def name(self) -> str:
        """The group's name."""

    @property
    def targets(self) -> int:
        """The number of the group's targets, by which its speed is weighted."""

    @property
    def first(self) -> Inputs:
        """The inputs of a first call, with which both sides are warmed up."""

    def sides(self, *, paired: bool) -> dict[SideName, ReleasableSide[Inputs, Outputs]]:
        """Return the candidate, and the baseline where it is timed too; neither is prepared yet."""

    def block(self, *, seconds_per_call: float, paired: bool) -> TimedBlock[Inputs, Outputs]:
        """Return the block, as long as the options ask, given the slower side's seconds for a call with `first`."""

    def check_baseline(self, outputs: Outputs) -> None:
        """Record how far the baseline strategy itself is right, by its outputs of `first`."""

    def close(self) -> None:
        """Free the inputs that the group holds on the device."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What a scenario alone can tell of a point.

    columns: of its row. details: beside the row. fault: what is wrong with what was timed; None where nothing is.
    """

    columns: Mapping[str, Any] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)
    fault: str | None = None


class Scenario(Protocol[Inputs, Outputs]):
    """The work of one point."""

    @property
    def paired(self) -> bool:
        """Return whether a baseline strategy is timed too."""

    def timed_groups(self) -> Sequence[GroupWork[Inputs, Outputs]]:
        """Return the groups on which speed is measured."""

    def findings(self, timed: SpeedMeasurement, *, first: bool) -> Findings:
        """Return what the scenario has to tell once its groups are timed.

        first: whether this is the point's first process, which also measures what is not timed.
        """
