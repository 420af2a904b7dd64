"""What a point's predictions are compared with: those of `sequential`, and limits above its noise floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.masks.rule import Limits, NoiseFloor
from harness.measure.judge import Judge
from harness.options.config import HarnessConfig
from harness.workload.encode import Workload
from strategies.vocabulary import Predictions

OnStage = Callable[[str], None]
"""A function that takes note of the stage that begins."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The standard of a point's masks; all fields are None where nothing is compared."""

    expected: list[Predictions] | None = None
    noise: NoiseFloor | None = None
    judge: Judge | None = None

    @staticmethod
    def of(config: HarnessConfig, workload: Workload, on_stage: OnStage) -> Compared:
        if not config.compare:
            return Compared()
        on_stage("predicting what to compare with")
        expected = workload.expected(config.objects)
        on_stage("measuring the noise floor")
        noise = workload.noise_floor(config.objects)
        judge = Judge(workload, config.objects, Limits.above(noise), batch=config.batch)
        return Compared(expected=expected, noise=noise, judge=judge)
