"""One grid point: prepare every group, time the targets, compare the masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from statistics import mean, median
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from harness.agreement import Agreement, AgreementMeter
from harness.environment import device_name
from harness.memory import PeakMemory
from harness.pictures import PictureBook
from harness.points import Point
from harness.results import PointResult
from harness.scores import ScoreMeter, Scores
from harness.timing import Sample, device_clock, frames_per_second, timed_passes, timed_repeats
from harness.workload import EncodedGroup, Workload, limited
from strategies.base import Strategy
from strategies.models.sam2 import Sam2
from strategies.vocabulary import Predictions, VisionFeatures

MOST_RELATIVE_DLOGIT = {"fp32": 1e-4}
"""How far an exact strategy's logits may differ, as a share of their scale; the noise measured in fp32 is 5e-7."""
LEAST_IOU_MEAN = {"bf16": 0.98, "fp16": 0.99}
"""In reduced precision near-ties flip, so the masks as a whole must agree."""


def measure_point(point: Point, workload: Workload, pictures: PictureBook) -> PointResult:
    """The point's result, with status ``ok`` or ``wrong``; whatever the strategy raises comes through."""
    config, model = point.config, workload.model
    expected = workload.expected(config.objects) if config.compare else [None] * len(workload.groups)
    meters = _Meters(agreement=AgreementMeter(), repeated=AgreementMeter(), scores=ScoreMeter())
    samples: list[Sample] = []
    bank_seconds: dict[str, list[float]] = {}
    pairs = 0
    clock = device_clock(model.device)
    peaks = PeakMemory(model.device)
    with make_strategy(config.strategy, model) as strategy:
        for encoded, reference in zip(workload.groups, expected, strict=True):
            references = limited(encoded.references, config.objects)
            if encoded is workload.groups[0]:
                strategy.prepare(references)  # warms up
            bank_seconds[encoded.group.name] = timed_repeats(
                partial(strategy.prepare, references), clock=clock, options=config.timing
            )
            check = _Check(point, encoded, reference, meters)
            if encoded is workload.groups[0]:
                check.keep_pictures(pictures)
            samples += timed_passes(
                group=encoded.group.name,
                targets=len(encoded.targets),
                batch=config.batch,
                load=_loader(encoded, workload),
                predict=strategy.predict,
                check=check,
                clock=clock,
                options=config.timing,
            )
            pairs += len(encoded.targets) * len(references.object_ids)
    peak = peaks.read()
    targets = sum(len(encoded.targets) for encoded in workload.groups)
    fps = frames_per_second(samples)
    agreed, scored = meters.agreement.result(), meters.scores.result()
    reason = meters.disagreement(config.dtype) if strategy.exact else None
    row = describe(point, workload) | {
        "status": "ok" if reason is None else "wrong",
        "reason": reason,
        "fps": fps,
        "objects_per_s": fps * pairs / targets,
        "encode_fps": workload.encoded_frames / workload.encode_seconds,
        "bank_s": mean(median(seconds) for seconds in bank_seconds.values()) if strategy.builds_bank else None,
        "peak_rss_mb": peak.rss,
        "vram_peak_mb": peak.vram,
    }
    return PointResult(
        row=row
        | _columns(agreed, ("iou_mean", "iou_p1", "iou_min", "max_abs_dlogit", "gate_flips", "pick_flips"))
        | _columns(scored, ("j", "f", "jf")),
        config=point.options,
        samples=samples,
        details={
            "bank_seconds": bank_seconds,
            "agreement": asdict(agreed) if agreed is not None else None,
            "scores": asdict(scored) if scored is not None else None,
        },
    )


def make_strategy(options: dict[str, Any], model: Sam2) -> Strategy:
    """The strategy that the options name; what its constructor raises comes through as it was raised."""
    try:
        strategy: Strategy = instantiate(options, model=model)
    except InstantiationException as error:
        raise error.__cause__ or error from None
    return strategy


def describe(point: Point, workload: Workload | None = None) -> dict[str, Any]:
    """The columns that say what the point is; with its workload also how large it came out."""
    config = point.config
    row: dict[str, Any] = {
        "point": point.name,
        "strategy": point.strategy,
        "bank": point.bank,
        "model": config.model.name,
        "data": config.data.name,
        "dtype": config.dtype,
        "batch": config.batch,
        "objects": config.objects,
        "refs": config.refs,
        "targets": config.targets,
        "command": point.command,
    }
    if workload is not None:
        references = [limited(encoded.references, config.objects) for encoded in workload.groups]
        row["device"] = device_name(workload.model.device)
        row["objects"] = max(len(reference.object_ids) for reference in references)
        row["refs"] = max(len(reference) for reference in references)
        row["targets"] = sum(len(encoded.targets) for encoded in workload.groups)
    return row


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


@dataclass(frozen=True, kw_only=True)
class _Meters:
    """agreement, scores: of the first pass, each target once. repeated: of the timed passes, which must agree too."""

    agreement: AgreementMeter
    repeated: AgreementMeter
    scores: ScoreMeter

    def disagreement(self, dtype: str) -> str | None:
        results = [meter.result() for meter in (self.agreement, self.repeated)]
        return next(filter(None, (disagreement(result, dtype) for result in results if result is not None)), None)


class _Check:
    """What happens to a batch of predictions outside the clock: agreement always, scores and pictures once a target."""

    def __init__(self, point: Point, encoded: EncodedGroup, expected: Predictions | None, meters: _Meters) -> None:
        self._point = point
        self._encoded = encoded
        self._expected = expected
        self._meters = meters
        self._pictures: PictureBook | None = None
        self._seen = 0

    def keep_pictures(self, pictures: PictureBook) -> None:
        object_ids = limited(self._encoded.references, self._point.config.objects).object_ids
        pictures.scene(self._scene, self._encoded.group, object_ids)
        self._pictures = pictures

    @property
    def _scene(self) -> str:
        objects = self._point.config.objects
        return f"{self._point.workload[:8]}-o{'all' if objects is None else objects}"

    def __call__(self, chosen: slice, predictions: Predictions) -> None:
        predictions = predictions.cpu()
        if self._expected is not None:
            meter = self._meters.agreement if chosen.start >= self._seen else self._meters.repeated
            meter.update(self._encoded.group.name, self._expected[chosen], predictions)
        for index, target in enumerate(range(chosen.start, chosen.stop)):
            if target >= self._seen:
                self._score(target, predictions, index)
                self._seen = target + 1

    def _score(self, target: int, predictions: Predictions, index: int) -> None:
        frame = self._encoded.group.targets[target]
        if frame.labels is not None:
            labels = frame.labels()
            predicted = predictions.label_map(index, size=labels.shape[:2]).numpy()
            self._meters.scores.update(self._encoded.group.name, predictions.object_ids, predicted, labels)
        if self._pictures is not None and target < self._pictures.targets:
            self._pictures.add(self._scene, self._point.name, target, predictions, index)


def _loader(encoded: EncodedGroup, workload: Workload) -> Callable[[slice], VisionFeatures]:
    """Reads a batch from disk and puts it on the device, both outside the clock."""
    device = workload.model.device

    return lambda chosen: encoded.targets[chosen].clone().to(device)


def _columns(measured: Agreement | Scores | None, names: tuple[str, ...]) -> dict[str, Any]:
    return {} if measured is None else {name: getattr(measured, name) for name in names}
