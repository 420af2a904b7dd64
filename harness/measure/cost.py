"""The cost of a speed: arithmetic beside the device's matrix rate, and the time of a whole job.

The matrix rate is measured in the same run, so that "achieved" can be read as a share of what this device does at this
moment (DESIGN section 4, rule 11). It is a yardstick and not a limit: a strategy's own products may be of shapes that
run a little faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.measure.timing import Clock
from strategies.models.precision import DTYPES

SMALLEST_SIDE = 256
LARGEST_SIDE = {"cpu": 1024, "cuda": 8192}
"""The side at which the rate no longer grows with it; a product then takes 20 ms at 100 GFLOP/s, or at 50 TFLOP/s."""

LONGEST_PRODUCT = 0.05
REPEATED_SECONDS = 0.3
MOST_REPEATS = 10


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a speed; a field is None where it is not known.

    gflops_per_target: FLOPs / 1e9 of predicting one target, all objects (convention: `strategies.components.flops`).
    achieved_gflops_per_s: the rate of the prediction stage. matrix_gflops_per_s: the rate of a large matrix product on
    the same device in the same dtype. matrix_share: the first divided by the second.
    projected_predict_s, projected_encode_s: seconds that each stage would take for a whole job.
    """

    gflops_per_target: float | None
    achieved_gflops_per_s: float | None
    matrix_gflops_per_s: float | None
    matrix_share: float | None
    projected_predict_s: float | None
    projected_encode_s: float | None


def cost(
    *,
    fps: float | None,
    encode_fps: float | None,
    flops_per_target: float | None,
    matrix_rate: float | None,
    project_to: int,
) -> Cost:
    """Return the cost of ``fps`` targets/s, beside ``matrix_rate`` FLOP/s, and of a job of ``project_to`` targets."""
    achieved = None if fps is None or flops_per_target is None else fps * flops_per_target
    return Cost(
        gflops_per_target=_giga(flops_per_target),
        achieved_gflops_per_s=_giga(achieved),
        matrix_gflops_per_s=_giga(matrix_rate),
        matrix_share=None if achieved is None or matrix_rate is None else achieved / matrix_rate,
        projected_predict_s=projected_seconds(project_to, fps),
        projected_encode_s=projected_seconds(project_to, encode_fps),
    )


def projected_seconds(targets: int, per_second: float | None) -> float | None:
    """Return how long one stage takes for a job of so many targets, at the rate that was measured.

    References and banks are left out, because a job has few of them beside its targets.
    """
    return None if per_second is None else targets / per_second


def measure_matrix_rate(device: torch.device, dtype: str, clock: Clock) -> float:
    """Measure the FLOP/s of a large square matrix product in ``dtype`` (a key of `DTYPES`), the best of some repeats.

    A multiply-add is 2 FLOPs. fp32 is what torch does with fp32 by its present settings: full precision, unless someone
    allowed TF32. This takes less than half a second on a slow machine, whose matrices are smaller, and memory for three
    matrices (768 MB on a GPU in fp32), so it must not run while a memory peak is being measured.
    clock: a clock that waits for the device (`harness.measure.timing.device_clock`).
    """
    side = SMALLEST_SIDE
    while True:
        product = _Product(side, device, DTYPES[dtype], clock)
        product.seconds()  # The first product warms up.
        seconds = product.seconds()
        if side >= LARGEST_SIDE.get(device.type, SMALLEST_SIDE) or 8 * seconds > LONGEST_PRODUCT:
            break
        side *= 2
    samples = [seconds]
    while len(samples) < MOST_REPEATS and sum(samples) < REPEATED_SECONDS:
        samples.append(product.seconds())
    return 2 * side**3 / min(samples)


class _Product:
    """One product of two square matrices of normal random numbers."""

    def __init__(self, side: int, device: torch.device, dtype: torch.dtype, clock: Clock) -> None:
        self._left, self._right = torch.randn(2, side, side, device=device, dtype=dtype)
        self._out = torch.empty_like(self._left)
        self._clock = clock

    def seconds(self) -> float:
        start = self._clock()
        torch.mm(self._left, self._right, out=self._out)
        return self._clock() - start


def _giga(value: float | None) -> float | None:
    return None if value is None else value / 1e9
