"""The first stage of a point: every target of every group once, untimed; are the masks right, and at what memory.

The candidate is alone on the device here, so the memory peak is its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

from harness.agreement import Agreement, AgreementMeter
from harness.memory import PeakMemory, Peaks
from harness.pictures import PictureBook
from harness.points import Point
from harness.scores import ScoreMeter
from harness.timing import Clock, timed_repeats
from harness.workload import EncodedGroup, Workload
from strategies.base import Strategy
from strategies.vocabulary import Predictions

MOST_RELATIVE_DLOGIT = {"fp32": 1e-4}
"""How far an exact strategy's logits may differ, as a share of their scale; the noise measured in fp32 is 5e-7."""
LEAST_IOU_MEAN = {"bf16": 0.98, "fp16": 0.99}
"""In reduced precision near-ties flip, so the masks as a whole must agree."""


@dataclass(frozen=True, kw_only=True)
class Meters:
    """agreement, scores: each target once. repeated: what the timed blocks predicted, which must agree too. floor: the
    reference strategy against `sequential`, which is the noise floor where it is itself exact."""

    agreement: AgreementMeter = field(default_factory=AgreementMeter)
    repeated: AgreementMeter = field(default_factory=AgreementMeter)
    floor: AgreementMeter = field(default_factory=AgreementMeter)
    scores: ScoreMeter = field(default_factory=ScoreMeter)

    def disagreement(self, dtype: str) -> str | None:
        """Why an exact strategy's masks do not count as those of `sequential`; None where they do."""
        of_targets, of_blocks = self.agreement.result(), self.repeated.result()
        if of_targets is not None and (reason := disagreement(of_targets, dtype)) is not None:
            return reason
        if of_blocks is not None and (reason := disagreement(of_blocks, dtype)) is not None:
            return f"{reason}, in the timed blocks"
        return None


@dataclass(frozen=True, kw_only=True)
class Verified:
    """peaks: the highest of any group. bank_seconds: of each group's calls of `prepare`, by group. flops_per_target: of
    the prediction stage, as the strategy counts them, mean over all targets."""

    peaks: Peaks
    bank_seconds: dict[str, list[float]]
    flops_per_target: float


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
    """Predict all targets batch by batch, and compare, score and picture them."""
    device, config = workload.model.device, point.config
    peaks, bank_seconds, flops = [], {}, 0
    for index, encoded in enumerate(workload.groups):
        references = encoded.references(device, config.objects)
        check = _Check(point, encoded, None if expected is None else expected[index], meters)
        if index == 0:
            candidate.prepare(references)  # warms up
            check.keep_pictures(pictures, references.object_ids)
        memory = PeakMemory(device)
        bank_seconds[encoded.group.name] = timed_repeats(
            partial(candidate.prepare, references), clock=clock, options=config.timing
        )
        for start in range(0, len(encoded.targets), config.batch):
            chosen = slice(start, min(start + config.batch, len(encoded.targets)))
            check(chosen, candidate.predict(encoded.targets[chosen].clone().to(device)))
        peaks.append(memory.read())
        flops += candidate.flops(len(encoded.targets))
        candidate.release()
    targets = sum(len(encoded.targets) for encoded in workload.groups)
    return Verified(peaks=Peaks.highest(peaks), bank_seconds=bank_seconds, flops_per_target=flops / targets)


def disagreement(agreed: Agreement, dtype: str) -> str | None:
    """Why an exact strategy's masks do not count as those of `sequential`; None where they do."""
    if dtype in MOST_RELATIVE_DLOGIT:
        most = MOST_RELATIVE_DLOGIT[dtype]
        if agreed.relative_dlogit > most:
            return f"logits differ from sequential by {agreed.relative_dlogit:.1e} of their scale, more than {most:.0e}"
        flips = agreed.gate_flips + agreed.pick_flips
        return f"{flips} gate or best-of-3 flips against sequential" if flips else None
    least = LEAST_IOU_MEAN[dtype]
    if agreed.iou_mean < least:
        return f"mean IoU with sequential is {agreed.iou_mean:.3f}, less than {least} in {dtype}"
    return None


class _Check:
    """What happens to a batch of predictions: agreement, scores and pictures."""

    def __init__(self, point: Point, encoded: EncodedGroup, expected: Predictions | None, meters: Meters) -> None:
        self._point = point
        self._encoded = encoded
        self._expected = expected
        self._meters = meters
        self._pictures: PictureBook | None = None

    def keep_pictures(self, pictures: PictureBook, object_ids: tuple[int, ...]) -> None:
        pictures.scene(self._scene, self._encoded.group, object_ids)
        self._pictures = pictures

    @property
    def _scene(self) -> str:
        objects = self._point.config.objects
        return f"{self._point.workload[:8]}-o{'all' if objects is None else objects}"

    def __call__(self, chosen: slice, predictions: Predictions) -> None:
        predictions = predictions.cpu()
        if self._expected is not None:
            self._meters.agreement.update(self._encoded.group.name, self._expected[chosen], predictions)
        for index, target in enumerate(range(chosen.start, chosen.stop)):
            self._score(target, predictions, index)

    def _score(self, target: int, predictions: Predictions, index: int) -> None:
        frame = self._encoded.group.targets[target]
        if frame.labels is not None:
            labels = frame.labels()
            predicted = predictions.label_map(index, size=labels.shape[:2]).numpy()
            self._meters.scores.update(self._encoded.group.name, predictions.object_ids, predicted, labels)
        if self._pictures is not None and target < self._pictures.targets:
            self._pictures.add(self._scene, self._point.name, target, predictions, index)
