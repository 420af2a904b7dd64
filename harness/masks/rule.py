"""Whether masks count as those of `sequential`: the numbers of their agreement, the limits above the noise, the rule.

The numbers are measured in `harness.masks.agreement` and `harness.masks.noise`. This file needs no torch.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from scipy.special import bdtr, betaincinv

ALIKE = 0.99
"""The IoU from which two masks count as alike in ``Agreement.share_at_99``."""
ROUNDOFF = {"fp32": 2.0**-24, "tf32": 2.0**-11, "fp16": 2.0**-11, "bf16": 2.0**-8}
"""Largest relative error of rounding to the nearest, by computing dtype. tf32 rounds the factors of fp32 products."""
STORED = ROUNDOFF["bf16"]
"""The roundoff of memory as the model stores it."""
HIGH = 0.9
"""The rule looks at this quantile over pairs, besides the median and the largest."""
LEAST_ROUNDOFFS = 1
"""No floor counts as lower than so many roundoffs of the largest number, because what is rounded as it is given out, as
bf16's object scores are, differs by 0 or by a whole step, and a sample may show no step."""
TIMES = {"fp32": 4.0, "tf32": 2.0, "fp16": 2.0, "bf16": 2.0}
"""Limits are so many times the floor. Exact strategies used at most three quarters of one, and mostly a quarter."""
TIMES_LARGEST = {"fp32": 16.0, "tf32": 4.0, "fp16": 4.0, "bf16": 4.0}
"""The limit of the largest of all pairs is so many times the floor, because a point compares many more pairs than the
floor is measured on."""
CONFIDENCE = 0.99
"""The bound on how often noise flips a choice holds with this probability."""
LUCK = 0.999
"""Where noise flips as often as that bound says, it makes no more flips than are allowed with this probability."""
CAUGHT = 0.95
"""A fault as rare as `rarest_fault` shows with this probability."""


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Differences of pairs in one kind of number, by quantiles over pairs.

    object: the median of the object whose median is the largest.
    """

    median: float
    high: float
    largest: float
    object: float


@dataclass(frozen=True, kw_only=True)
class Differences:
    """Differences of pairs from what was expected, in each kind of number.

    logits: a pair's largest difference over the largest absolute expected logit of the pair, where the gate is open on
    both sides. scores: of object scores. ious: the largest of a pair's predicted IoUs.
    """

    logits: Distances
    scores: Distances
    ious: Distances

    @staticmethod
    def from_json(content: dict[str, Any]) -> Differences:
        """Read what `asdict` gave."""
        return Differences(**{kind: Distances(**distances) for kind, distances in content.items()})

    def __iter__(self) -> Iterator[tuple[str, str, float]]:
        """Yield the kind, the quantile and the value of each number."""
        for kind in fields(self):
            for quantile in fields(Distances):
                yield kind.name, quantile.name, getattr(getattr(self, kind.name), quantile.name)


@dataclass(frozen=True, kw_only=True)
class ObjectAgreement:
    """IoU of one object's masks over all targets: mean, first percentile (linear interpolation) and minimum."""

    iou_mean: float
    iou_p1: float
    iou_min: float


@dataclass(frozen=True, kw_only=True)
class WorstTarget:
    """A target with its object that agrees least. target: its number in the group, from 0, as they were compared."""

    group: str
    target: int
    object_id: int
    iou: float


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Agreement over all pairs of ``targets`` targets; ``per_object`` is by "group/id".

    iou_mean, iou_p1, iou_min: over all pairs; two empty masks have IoU 1.
    compared_iou_min: the least over pairs that choose alike, and over flipped ones whose mask was compared with that of
    their own choice.
    share_at_99: share of pairs with IoU >= 0.99.
    max_abs_dlogit: largest logit difference over pairs whose gate is open on both sides, 0 where there are none.
    max_abs_dscore, max_abs_diou: largest difference of an object score, and of a candidate's predicted IoU.
    differences: of pairs that choose alike, gate and pick, and of flipped ones against the mask that the oracle has for
    their choice; those of ``excused`` objects, "group/id", are in ``of_excused`` instead, None where there are none.
    gate_flips: pairs whose object score is above 0 on one side only. pick_flips: pairs whose best candidate differs,
    closed gates included.
    not_empty: pairs whose gate is closed, although a logit is not -1024.
    misfit: in what predictions do not belong to the objects and targets asked for; None where all do.
    calls, pairs: how many calls of the strategy were compared, and how many pairs.
    worst: the few targets that agree least, the worst first, of equals the first.
    """

    iou_mean: float
    iou_p1: float
    iou_min: float
    compared_iou_min: float
    share_at_99: float
    max_abs_dlogit: float
    max_abs_dscore: float
    max_abs_diou: float
    differences: Differences
    of_excused: Differences | None
    excused: tuple[str, ...]
    gate_flips: int
    pick_flips: int
    not_empty: int
    misfit: str | None
    calls: int
    pairs: int
    targets: int
    per_object: dict[str, ObjectAgreement] = field(repr=False)
    worst: tuple[WorstTarget, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class NoiseFloor:
    """Differences of `sequential` from itself under the two kinds of noise of `harness.masks.noise`.

    fine: under rounding of the computing dtype. coarse: where stored memory is off by its rounding too; one tie of that
    rounding moves an object's masks by no more. largest_score, largest_iou: absolute, of what is compared. iou: under
    fine noise, mean over pairs. gate_flips, pick_flips, pairs: under fine noise.
    """

    dtype: str
    fine: Differences
    coarse: Differences
    largest_score: float
    largest_iou: float
    iou: float
    gate_flips: int
    pick_flips: int
    pairs: int

    @property
    def of_logits(self) -> Distances:
        """The fine noise of logits. Where no pair that it was measured on shows its object, no logit tells, and noise
        counts as large as that of scores is beside the largest score: other pictures may show objects."""
        if self.fine.logits.largest > 0 or self.largest_score == 0:
            return self.fine.logits
        scores = asdict(self.fine.scores)
        return Distances(**{quantile: value / self.largest_score for quantile, value in scores.items()})

    @staticmethod
    def from_json(content: dict[str, Any]) -> NoiseFloor:
        """Read what `asdict` gave."""
        return NoiseFloor(**content | {name: Differences.from_json(content[name]) for name in ("fine", "coarse")})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The largest differences from `sequential` that an exact strategy may have.

    differences: of all pairs. ties: of an object, if ties of its stored memory turn out to be why
    (`harness.measure.judge`). gate_rate, pick_rate: the share of pairs that noise flips at most.
    """

    differences: Differences
    ties: Differences
    gate_rate: float
    pick_rate: float

    @classmethod
    def above(cls, floor: NoiseFloor) -> Limits:
        least = LEAST_ROUNDOFFS * ROUNDOFF[floor.dtype]
        steps = {"logits": least, "scores": least * floor.largest_score, "ious": least * floor.largest_iou}
        times, times_largest = TIMES[floor.dtype], TIMES_LARGEST[floor.dtype]

        def of_kind(kind: str) -> Distances:
            found: Distances = getattr(floor.fine, kind) if kind != "logits" else floor.of_logits
            step = steps[kind]
            high = max(step, found.high)
            return Distances(
                median=times * max(step, found.median),
                high=times * high,
                largest=times_largest * max(step, found.largest),
                object=times * max(high, found.object),
            )

        def of_ties(kind: str) -> Distances:
            most = max(of_kind(kind).largest, times * getattr(floor.coarse, kind).largest)
            return Distances(median=most, high=most, largest=most, object=most)

        return cls(
            differences=Differences(**{kind: of_kind(kind) for kind in steps}),
            ties=Differences(**{kind: of_ties(kind) for kind in steps}),
            gate_rate=highest_rate(floor.gate_flips, floor.pairs),
            pick_rate=highest_rate(floor.pick_flips, floor.pairs),
        )


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number of an agreement beside its limit. One that is not finite is beyond every limit."""

    kind: str
    quantile: str
    value: float
    limit: float

    @property
    def share(self) -> float:
        """The share of the limit that the number uses; above 1 it is too far."""
        if not math.isfinite(self.value):
            return math.inf
        if self.value == 0:
            return 0.0
        return self.value / self.limit if self.limit > 0 else math.inf


def measures(found: Differences, limits: Differences) -> list[Measure]:
    """Return all numbers beside their limits, the one that uses most of its limit first."""
    listed = [
        Measure(kind=kind, quantile=quantile, value=value, limit=limit)
        for (kind, quantile, value), (_, _, limit) in zip(found, limits, strict=True)
    ]
    return sorted(listed, key=lambda one: -one.share)


def disagreement(agreed: Agreement | None, limits: Limits | None, *, oracle: str = "sequential") -> str | None:
    """Say why an exact strategy's masks do not count as those of the oracle; None where they do or were not compared.

    What is not finite is beyond every limit, also where the oracle itself is not finite. oracle: its name.
    """
    if agreed is None or limits is None:
        return None
    if agreed.misfit is not None:
        return f"predictions do not answer what {oracle} was asked: {agreed.misfit}"
    if agreed.not_empty:
        return f"{agreed.not_empty} masks of a closed gate are not empty, with logits of -1024, as those of {oracle}"
    for kind, flips, rate in (
        ("gate", agreed.gate_flips, limits.gate_rate),
        ("best-of-3", agreed.pick_flips, limits.pick_rate),
    ):
        most = most_flips(agreed.pairs, rate)
        if flips > most:
            return f"{flips} {kind} flips against {oracle} in {agreed.pairs} masks, where noise makes {most} at most"
    for found, allowed in ((agreed.differences, limits.differences), (agreed.of_excused, limits.ties)):
        if found is not None and (beyond := _beyond(found, allowed, oracle)) is not None:
            return beyond
    if not agreed.compared_iou_min > 0:
        return f"a mask shares no pixel with that of {oracle}, though it is of the same choice"
    return None


def highest_rate(flips: int, pairs: int) -> float:
    """Return an upper bound on the rate at which noise flips a choice, which it did in ``flips`` of ``pairs``.

    It is the bound of Clopper and Pearson for the probability `CONFIDENCE`.
    """
    return float(betaincinv(flips + 1, pairs - flips, CONFIDENCE)) if flips < pairs else 1.0


def most_flips(pairs: int, rate: float) -> int:
    """Return how many pairs may be flipped where noise flips each with the probability ``rate``.

    It is the quantile `LUCK` of the binomial distribution.
    """
    return bisect_left(range(pairs), LUCK, key=lambda flips: float(bdtr(flips, pairs, rate)))


def rarest_fault(calls: int) -> float:
    """Return the share of calls that a fault must spoil for one of ``calls`` to show it with a probability of 95 %."""
    return 1 - (1 - CAUGHT) ** (1 / calls)


WHAT = {"logits": "logits (of their mask's scale)", "scores": "object scores", "ious": "predicted IoUs"}
WHERE = {
    "median": "in the median mask",
    "high": f"in one of {1 / (1 - HIGH):.0f} masks",
    "largest": "in a mask",
    "object": "in the median mask of an object",
}


def _beyond(found: Differences, limits: Differences, oracle: str) -> str | None:
    worst = measures(found, limits)[0]
    if worst.share <= 1:
        return None
    return (
        f"{WHAT[worst.kind]} differ from {oracle} by {worst.value:.1e} {WHERE[worst.quantile]}, "
        f"more than {worst.limit:.1e}"
    )
