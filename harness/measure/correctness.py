"""The first stage of a point: every target is predicted once, untimed, to check the masks and measure the memory.

The candidate is alone on the device here, so the memory peak is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import torch

from harness.masks.agreement import AgreementMeter
from harness.masks.pictures import Batch, PictureBook
from harness.masks.scores import ScoreMeter
from harness.measure.odd_labels import OddLabels
from harness.measure.timing import Clock, timed_repeats
from harness.observe.memory import PeakMemory, Peaks
from harness.options.points import Point
from harness.workload.encode import EncodedGroup, Workload, changed, same_bits
from strategies.base import Strategy
from strategies.vocabulary import Predictions, VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Meters:
    """The meters of one point.

    agreement, scores: of the candidate, each target once. repeated: of what the timed blocks predicted, which must
    agree too. baseline: of the baseline strategy against `sequential`. baseline_repeated: the same of its timed blocks,
    where these are not themselves what is expected. changed_inputs: the inputs that a strategy did not leave as they
    were, and when. changed_answers: the groups in which an answer of the candidate was another after its next one.
    """

    agreement: AgreementMeter = field(default_factory=AgreementMeter)
    repeated: AgreementMeter = field(default_factory=AgreementMeter)
    baseline: AgreementMeter = field(default_factory=AgreementMeter)
    baseline_repeated: AgreementMeter = field(default_factory=AgreementMeter)
    scores: ScoreMeter = field(default_factory=ScoreMeter)
    changed_inputs: list[str] = field(default_factory=list)
    changed_answers: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What the first stage measured beside the masks.

    peaks: the highest of any group. bank_seconds: the time of each call of `prepare`, by group. flops_per_target: the
    FLOPs of the prediction stage, as the strategy counts them, mean over all targets. warnings: about the labels.
    """

    peaks: Peaks
    bank_seconds: dict[str, list[float]]
    flops_per_target: float
    warnings: list[str]


def verify(
    point: Point,
    workload: Workload,
    candidate: Strategy,
    *,
    expected: list[Predictions] | None,
    meters: Meters,
    pictures: PictureBook,
    clock: Clock,
) -> Verified:
    """Predict all targets batch by batch; compare and score the masks, and keep pictures of the worst."""
    device, config = workload.model.device, point.config
    peaks, bank_seconds, flops = [], {}, 0
    odd = OddLabels()
    warmed: set[tuple[int, ...]] = set()
    for index, encoded in enumerate(workload.groups):
        references = encoded.references(device, config.objects)
        odd.look_at_references(encoded.group, references)
        check = _Check(index, encoded, None if expected is None else expected[index], meters, pictures, odd)
        if (shape := references.masks.shape) not in warmed:
            # What is compiled or tuned for a shape takes memory of its own, once; it is none of the strategy's peak.
            warmed.add(shape)
            candidate.prepare(references)
            if not _keeps_its_answers(candidate, encoded.targets[: config.batch], references.features):
                meters.changed_answers.append(encoded.group.name)
        memory = PeakMemory(device)
        bank_seconds[encoded.group.name] = timed_repeats(
            partial(candidate.prepare, references), clock=clock, options=config.timing
        )
        given: VisionFeatures | None = None
        for start in range(0, len(encoded.targets), config.batch):
            chosen = slice(start, min(start + config.batch, len(encoded.targets)))
            given = _filled(given, encoded.targets[chosen], device)
            check(chosen, candidate.predict(given))
            if not same_bits(given, encoded.targets[chosen]):
                meters.changed_inputs.append("the targets' features")
        peaks.append(memory.read())
        meters.changed_inputs.extend(changed(references, encoded.references(device, config.objects)))
        flops += candidate.flops(len(encoded.targets))
        candidate.release()
    pictures.write(_scene(point), point.name)
    targets = sum(len(encoded.targets) for encoded in workload.groups)
    return Verified(
        peaks=Peaks.highest(peaks),
        bank_seconds=bank_seconds,
        flops_per_target=flops / targets,
        warnings=odd.warnings(),
    )


def _keeps_its_answers(candidate: Strategy, targets: VisionFeatures, others: VisionFeatures) -> bool:
    """Predict a batch, and then one of other pictures; returns whether the answer of the first is still the same.

    others: features of any number of pictures, on the candidate's device.
    """
    answer = candidate.predict(targets.clone().to(candidate.model.device))
    kept = Predictions.concatenate([answer]).cpu()
    parts = [others[place : place + 1] for place in (number % len(others) for number in range(len(targets)))]
    candidate.predict(VisionFeatures.concatenate(parts))
    return same_bits(answer.cpu(), kept)


def _filled(given: VisionFeatures | None, targets: VisionFeatures, device: torch.device) -> VisionFeatures:
    """Return targets in the memory of those that were given before, where they are as many.

    So a strategy that knows pictures by where they lie, or that reads them later, has other masks.
    """
    if given is None or len(given) != len(targets):
        return targets.clone().to(device)
    given.copy_(targets)
    return given


def _scene(point: Point) -> str:
    """Name the pictures' folder, which points share if their pictures show the same objects of the same frames."""
    objects = point.config.objects
    return f"{point.workload[:8]}-o{'all' if objects is None else objects}"


class _Check:
    """Checks batches of a group's predictions: agreement, scores and pictures."""

    def __init__(
        self,
        number: int,
        encoded: EncodedGroup,
        expected: Predictions | None,
        meters: Meters,
        pictures: PictureBook,
        odd: OddLabels,
    ) -> None:
        self._number = number
        self._group = encoded.group
        self._targets = encoded.targets
        self._expected = expected
        self._meters = meters
        self._pictures = pictures
        self._odd = odd

    def __call__(self, chosen: slice, predictions: Predictions) -> None:
        predictions = predictions.cpu()
        expected, ious = None, None
        if self._expected is not None:
            expected = self._expected[chosen]
            ious = self._meters.agreement.update(
                self._group.name,
                expected,
                predictions,
                target=lambda place: self._targets[chosen.start + place : chosen.start + place + 1],
            )
            if ious is None:  # Predictions of other objects can be neither scored nor shown.
                return
        for index, target in enumerate(range(chosen.start, chosen.stop)):
            self._score(target, predictions, index)
        self._pictures.add(
            Batch(
                group=self._group,
                number=self._number,
                start=chosen.start,
                predictions=predictions,
                expected=expected,
                ious=ious,
            )
        )

    def _score(self, target: int, predictions: Predictions, index: int) -> None:
        frame = self._group.targets[target]
        if frame.labels is not None:
            labels = frame.labels()
            self._odd.look_at_truth(self._group, labels)
            predicted = predictions.label_map(index, size=labels.shape[:2]).numpy()
            self._meters.scores.update(self._group.name, predictions.object_ids, predicted, labels)
