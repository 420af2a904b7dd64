"""Points in reduced precision are certified in fp32 too: the same strategy with the same options, on a few targets.

A mistake that is smaller than the noise of a dtype can't be seen in it: in bf16, dropping every object pointer moves
masks about as far as rounding does. In fp32 the same mistake is a thousand times as large as the noise. Weights are
fp32 whatever the dtype, so the network is the point's own; pictures are encoded again.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.masks.agreement import AgreementMeter
from harness.masks.rule import Agreement, Limits, NoiseFloor
from harness.measure.judge import Judge, MaskCheck
from harness.measure.making import make_strategy
from harness.options.config import HarnessConfig
from harness.options.points import Point
from harness.row import Masks
from harness.workload.encode import EncodedGroup, Workload
from strategies.base import Strategy
from strategies.errors import UserError, out_of_memory
from strategies.vocabulary import Predictions, VisionFeatures


@dataclass(frozen=True, kw_only=True)
class InFp32:
    """The result of certifying a strategy in fp32.

    masks: None where the strategy can't run in fp32 here. note: why it can't, or in what masks differ.
    """

    masks: Masks | None
    note: str | None
    agreement: Agreement | None = None
    noise_floor: NoiseFloor | None = None
    limits: Limits | None = None


def certify_in_fp32(point: Point, workload: Workload) -> InFp32:
    """Compare what the point's strategy and `sequential` predict in fp32."""
    try:
        return _certify(point, workload)
    except UserError as error:  # The strategy has an option that fp32 lacks, such as a kernel of 16-bit attention.
        return InFp32(masks=None, note=f"not certified in fp32: {error}")
    except Exception as error:
        if not out_of_memory(error):
            raise
        return InFp32(masks=None, note="not certified in fp32: there is not enough memory")


def _certify(point: Point, workload: Workload) -> InFp32:
    sample = workload.in_fp32(point.config.encode, targets=point.config.batch + 1)  # A batch and one that is not full.
    check, limits = judge_untimed(point.config, sample)
    masks: Masks = "same" if check.fault is None else "differ"
    return InFp32(
        masks=masks,
        note=check.fault,
        agreement=check.agreed,
        noise_floor=sample.noise_floor(point.config.objects),
        limits=limits,
    )


def judge_untimed(config: HarnessConfig, workload: Workload) -> tuple[MaskCheck, Limits]:
    """Judge what the strategy predicts for each target of the workload; returns the limits too."""
    expected = workload.expected(config.objects)
    limits = Limits.above(workload.noise_floor(config.objects))
    meter = AgreementMeter()
    with make_strategy(config.strategy, workload.model) as strategy:
        for encoded, wanted in zip(workload.groups, expected, strict=True):
            _compare(meter, encoded, wanted, strategy, config)
        return Judge(workload, config.objects, limits, batch=config.batch).judge(meter, strategy), limits


def _compare(
    meter: AgreementMeter, encoded: EncodedGroup, wanted: Predictions, strategy: Strategy, config: HarnessConfig
) -> None:
    device = strategy.model.device
    strategy.prepare(encoded.references(device, config.objects))
    for start in range(0, len(encoded.targets), config.batch):
        targets = encoded.targets[start : start + config.batch].clone().to(device)

        def target(place: int, start: int = start) -> VisionFeatures:
            return encoded.targets[start + place : start + place + 1]

        found = strategy.predict(targets).cpu()
        meter.update(encoded.group.name, wanted[start : start + len(targets)], found, target=target)
    strategy.release()
