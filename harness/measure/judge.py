"""The judge of predictions, who says whether they count as those of `sequential` where numbers alone can't tell.

Two things need a second look, and the network for it:

- *flipped pairs* have the mask of another choice. The oracle gives all candidate masks of such a target, and the pair
  is compared with the one that its own choice names.
- *ties of stored memory*: the model rounds memory to bf16, and a value that lies in the middle between two neighbours
  goes either way by noise of 1e-7. Mostly, one such value hardly moves a mask, but one in some hundred moves it as far
  as memory that is not rounded at all. So an object that is a little too far away is looked at again with references
  that are off by a few roundoffs, the same for both sides. The tie is gone then, and a mistake is still there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from harness.masks.agreement import AgreementMeter
from harness.masks.noise import TIES, disturbed
from harness.masks.rule import ROUNDOFF, Agreement, Limits, disagreement, measures
from harness.measure.correctness import Meters
from harness.row import Masks
from harness.workload.encode import EncodedGroup, Workload
from strategies.base import Strategy
from strategies.oracle import Oracle
from strategies.session import CandidateOracle
from strategies.vocabulary import VisionFeatures

LOOKS = 4
"""An object is looked at again so often. One look without the difference is enough, for a mistake shows in each."""
MOST_SUSPECTS, FEW_OBJECTS = 0.5, 2
"""No larger share of all objects can be excused, but so many always can: a tie that shows is rare among many objects,
while of two objects both may have one."""


@dataclass(frozen=True, kw_only=True)
class MaskCheck:
    """The check of some predictions.

    agreed: None where nothing was compared. fault: why they do not count as those of `sequential`; None where they do.
    """

    agreed: Agreement | None
    fault: str | None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The checks of a point's predictions: each target once, the timed blocks, and the baseline strategy.

    of_baseline_timed: how far the timed blocks of a baseline strategy that is not exact agree; it is not judged.
    """

    once: MaskCheck
    timed: MaskCheck
    of_baseline: MaskCheck
    of_baseline_timed: Agreement | None
    changed_inputs: tuple[str, ...]
    changed_answers: bool
    limits: Limits | None

    @staticmethod
    def of(meters: Meters, judge: Judge | None, candidate: Strategy, baseline: Strategy | None) -> Judged:
        """Judge what the meters compared; ``judge`` is None where nothing was."""
        nothing = MaskCheck(agreed=None, fault=None)
        return Judged(
            once=judge.judge(meters.agreement, candidate) if judge else nothing,
            timed=judge.judge(meters.repeated, candidate) if judge else nothing,
            of_baseline=judge.judge(meters.baseline, baseline) if judge and baseline else nothing,
            of_baseline_timed=meters.baseline_repeated.result(),
            changed_inputs=tuple(dict.fromkeys(meters.changed_inputs)),
            changed_answers=bool(meters.changed_answers),
            limits=None if judge is None else judge.limits,
        )

    @property
    def masks(self) -> Masks | None:
        """Whether the masks count as those of `sequential`, by the rule for exact strategies.

        It is None where they were not compared.
        """
        if self.once.agreed is None:
            return None
        return "same" if self._fault is None else "differ"

    def reason(self, candidate: Strategy, baseline: Strategy | None) -> str | None:
        """Say why the point is wrong; return None where it is not."""
        if self.changed_inputs:
            return f"the strategy changes its inputs, which are not its own: {', '.join(self.changed_inputs)}"
        if self.changed_answers:
            return "the strategy changes an answer that it has given when it predicts again: give each its own memory"
        if baseline is not None and baseline.exact and self.of_baseline.fault is not None:
            return f"the baseline strategy itself is wrong: {self.of_baseline.fault}"
        return self._fault if candidate.exact else None

    @property
    def calls(self) -> int | None:
        """The number of the candidate's calls that were compared; None where none was."""
        found = [one.agreed.calls for one in (self.once, self.timed) if one.agreed is not None]
        return sum(found) if found else None

    @property
    def share_of_limits(self) -> float | None:
        """The largest share of a limit that is used; above 1 it is too much. None where nothing was compared."""
        found = [one.agreed for one in (self.once, self.timed) if one.agreed is not None]
        if self.limits is None or not found:
            return None
        return max(measures(agreed.differences, self.limits.differences)[0].share for agreed in found)

    @property
    def _fault(self) -> str | None:
        if self.once.fault is not None:
            return self.once.fault
        return None if self.timed.fault is None else f"{self.timed.fault}, in the timed blocks"


class Judge:
    """A judge of predictions for one workload's groups and their first ``objects`` objects, by one set of limits."""

    def __init__(self, workload: Workload, objects: int | None, limits: Limits, *, batch: int) -> None:
        self._workload = workload
        self._objects = objects
        self._batch = batch
        self.limits = limits
        self._groups = {encoded.group.name: encoded for encoded in workload.groups}

    def judge(self, meter: AgreementMeter, strategy: Strategy) -> MaskCheck:
        """Judge what the meter compared.

        strategy: whose predictions these are; where objects are looked at again it is prepared anew, and released.
        """
        self._settle(meter)
        agreed = meter.result()
        fault = disagreement(agreed, self.limits)
        if agreed is None or fault is None:
            return MaskCheck(agreed=agreed, fault=fault)
        excused = self._tied(meter, strategy)
        if not excused:
            return MaskCheck(agreed=agreed, fault=fault)
        without = meter.result(excused=excused)
        return MaskCheck(agreed=without, fault=disagreement(without, self.limits))

    def _settle(self, meter: AgreementMeter) -> None:
        by_group = defaultdict(list)
        for flip in meter.flips:
            by_group[flip.group].append(flip)
        device = self._workload.model.device
        for name, flips in by_group.items():
            oracle = CandidateOracle(self._workload.model, self._groups[name].references(device, self._objects))
            for flip in flips:
                flip.settle(oracle.candidates(flip.target().to(device)))
        meter.flips.clear()

    def _tied(self, meter: AgreementMeter, strategy: Strategy) -> list[str]:
        """Return the objects, "group/id", whose difference goes away with the ties of their memory."""
        by_group: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for group, index, name in suspects(meter, self.limits):
            by_group[group].append((index, name))
        return [name for group, listed in by_group.items() for name in self._explained(group, listed, strategy)]

    def _explained(self, group: str, suspects: Sequence[tuple[int, str]], strategy: Strategy) -> list[str]:
        generator = torch.Generator().manual_seed(1)
        left = dict(suspects)
        explained = []
        for _ in range(LOOKS):
            if not left:
                break
            again = self._look(self._groups[group], strategy, generator)
            for index, name in list(left.items()):
                if measures(again.differences(group, index), self.limits.differences)[0].share <= 1:
                    explained.append(name)
                    del left[index]
        return explained

    def _look(self, encoded: EncodedGroup, strategy: Strategy, generator: torch.Generator) -> AgreementMeter:
        model = self._workload.model
        share = max(TIES, ROUNDOFF[model.dtype])
        references = disturbed(encoded.references(model.device, self._objects), share, generator)
        meter = AgreementMeter()
        with Oracle(model) as oracle, strategy:
            oracle.prepare(references)
            strategy.prepare(references)
            for start in _first_and_last(range(0, len(encoded.targets), self._batch)):
                targets = encoded.targets[start : start + self._batch].clone().to(model.device)

                def target(place: int, targets: VisionFeatures = targets) -> VisionFeatures:
                    return targets[place : place + 1]

                meter.update(encoded.group.name, oracle.predict(targets), strategy.predict(targets), target=target)
        return meter


def _first_and_last(starts: Sequence[int]) -> list[int]:
    """Return where the first batch begins, which is full, and the last, which may not be: a look needs no more."""
    return list(dict.fromkeys((starts[0], starts[-1])))


def suspects(meter: AgreementMeter, limits: Limits) -> list[tuple[str, int, str]]:
    """Return the objects, as ``meter.objects`` lists them, that are too far away by no more than ties could explain.

    There are none where an object is farther away than any tie is worth, or where too many are.
    """
    found = []
    for group, index, name in meter.objects:
        differences = meter.differences(group, index)
        if measures(differences, limits.differences)[0].share > 1:
            if measures(differences, limits.ties)[0].share > 1:
                return []
            found.append((group, index, name))
    return found if len(found) <= max(FEW_OBJECTS, MOST_SUSPECTS * len(meter.objects)) else []
