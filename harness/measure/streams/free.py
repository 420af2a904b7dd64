"""The rule for free runs, in which every strategy remembers what it predicted itself.

A mean IoU hardly sees a fault in memory, because masks keep their shape while their scores move: without any pointer of
a prediction, the toy's fell by 0.0005. So an exact strategy's numbers are compared with the trajectory floor, too, over
the frames on which that is measured: half of all masks have to be as near as a few times what rounding does.
Trajectories of some objects may part, which moves no median.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.masks.agreement import AgreementMeter
from harness.masks.mean_iou import mean_iou_limit
from harness.masks.rule import LEAST_ROUNDOFFS, ROUNDOFF, WHAT, Agreement
from harness.measure.streams.courses import Step
from harness.measure.streams.floor import FLOOR_FRAMES, Floors, compare
from harness.options.shipped import OF_STREAMS

TIMES_MEDIAN = 16.0
"""The median difference of masks may be so many times what rounding alone makes."""


@dataclass(frozen=True, kw_only=True)
class FreeLimits:
    """The least mean IoU of an exact strategy's free run, and the largest median difference of each kind of number."""

    mean_iou: float
    medians: dict[str, float]

    @staticmethod
    def above(floors: Floors) -> FreeLimits:
        noise, trajectory = floors.noise, floors.trajectory
        least = LEAST_ROUNDOFFS * ROUNDOFF[noise.dtype]
        steps = {"logits": least, "scores": least * noise.largest_score, "ious": least * noise.largest_iou}
        return FreeLimits(
            mean_iou=mean_iou_limit(trajectory.all_ious),
            medians={
                kind: TIMES_MEDIAN * max(step, getattr(trajectory.differences, kind).median)
                for kind, step in steps.items()
            },
        )


class FreeMeter:
    """A meter of free runs. result: over all frames; early: over those that the trajectory floor is measured on."""

    def __init__(self) -> None:
        self._all, self._early = AgreementMeter(), AgreementMeter()

    def update(self, expected: Step, found: Step, places: dict[str, int]) -> None:
        """Compare one step's predictions. places: those of the frames in their videos, from 0."""
        compare(self._all, expected, found)
        early = {video for video in expected if places[video] < FLOOR_FRAMES}
        compare(self._early, *({video: step[video] for video in step if video in early} for step in (expected, found)))

    def result(self) -> Agreement | None:
        return self._all.result()

    def fault(self, limits: FreeLimits) -> str | None:
        """Say why an exact strategy's free run is not the oracle's; None where it is, or nothing was compared."""
        free, early = self._all.result(), self._early.result()
        if free is None:
            return None
        if (misfit := misfit_of(free)) is not None:
            return misfit
        if free.not_empty:
            return (
                f"{free.not_empty} masks of a closed gate are not empty, with logits of -1024, as those of {OF_STREAMS}"
            )
        if free.iou_mean < limits.mean_iou:
            return (
                f"a free run has a mean IoU of {free.iou_mean:.4f} with that of {OF_STREAMS}, below "
                f"{limits.mean_iou:.4f}"
            )
        return None if early is None else _too_far(early, limits)


def misfit_of(free: Agreement) -> str | None:
    """Say in what predictions are none of what was asked for, which no strategy may do, exact or not."""
    return None if free.misfit is None else f"predictions do not answer what {OF_STREAMS} was asked: {free.misfit}"


def _too_far(early: Agreement, limits: FreeLimits) -> str | None:
    for kind, limit in limits.medians.items():
        median = getattr(early.differences, kind).median
        if not median <= limit:  # so that what is not finite is too far
            return (
                f"{WHAT[kind]} of a free run differ from {OF_STREAMS} by {median:.1e} in the median mask, more than "
                f"{limit:.1e}"
            )
    return None
