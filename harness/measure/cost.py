"""The cost of a speed: arithmetic beside the device's matrix rate, and the time of a whole job.

The matrix rate is measured in the same run, so that "achieved" can be read as a share of what this device does at this
moment (DESIGN section 4, rule 11). It is the best of a few shapes, those of the network's tall products among them, so
that a strategy does not exceed it for want of a good yardstick.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from harness.measure.samples import calls_of_a_sample, seconds_of
from harness.measure.timing import Clock
from strategies.models.precision import DTYPES

SMALLEST_SIDE = 256
LARGEST_SIDE = {"cpu": 1024, "cuda": 8192}
"""The side at which the rate no longer grows with it; a product then takes 20 ms at 100 GFLOP/s, or at 50 TFLOP/s."""

TALL = ((256, 2048), (2048, 256))
"""Inner and outer widths of memory attention's widest products, whose rows are the tokens of a chunk."""
MOST_ROWS = 65_536

COPIED_BYTES = {"cpu": 1 << 26, "cuda": 1 << 28}
"""Bytes of the memory that is copied: more than caches hold."""

LONGEST_PRODUCT = 0.05
REPEATED_SECONDS = 0.2
MOST_REPEATS = 10


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of a speed; a field is None where it is not known.

    gflops_per_target: FLOPs / 1e9 of predicting one target, all objects (convention: `strategies.components.flops`).
    achieved_gflops_per_s: the rate of the prediction stage. matrix_gflops_per_s: the rate of large matrix products on
    the same device in the same dtype, or of this stage where that is higher, as attention may be where a CPU has no
    units for the dtype. matrix_share: the first divided by the second.
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
    if achieved is not None and matrix_rate is not None:
        matrix_rate = max(matrix_rate, achieved)  # The device has just shown that it can do as much.
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
    """Measure the FLOP/s of large matrix products in ``dtype`` (a key of `DTYPES`): the best shape's best repeat.

    The shapes are squares of growing sides, and tall ones with as much arithmetic as the largest square, but of no more
    rows than a chunk has. A sample is long enough for launches not to show. A multiply-add is 2 FLOPs. fp32 is what
    torch does with fp32 by its present settings: full precision, unless someone allowed TF32. This takes about half a
    second on a slow machine, whose matrices are smaller, and memory for three square matrices and the tall ones (2 GB
    on a GPU in fp32), so it must not run while a memory peak is being measured.
    clock: a clock that waits for the device (`harness.measure.timing.device_clock`).
    """
    kind, side, best = DTYPES[dtype], SMALLEST_SIDE, 0.0
    while True:
        square = _Product(side, side, side, device, kind)
        square.run()  # The first product warms up.
        seconds = seconds_of(square.run, 1, clock)
        best = max(best, square.flops / seconds)
        if side >= LARGEST_SIDE.get(device.type, SMALLEST_SIDE) or 8 * seconds > LONGEST_PRODUCT:
            break
        side *= 2
    tall = [_Product(min(MOST_ROWS, side**3 // (k * n)), k, n, device, kind) for k, n in TALL]
    for product in tall:
        product.run()
    calls = [calls_of_a_sample(product.run, clock) for product in (square, *tall)]
    spent = 0.0
    for _ in range(MOST_REPEATS):
        for product, count in zip((square, *tall), calls, strict=True):
            if spent < REPEATED_SECONDS:
                seconds = seconds_of(product.run, count, clock)
                spent += seconds
                best = max(best, count * product.flops / seconds)
    return best


class _Product:
    """One product of two matrices of normal random numbers, ``[m, k]`` and ``[k, n]``."""

    def __init__(self, m: int, k: int, n: int, device: torch.device, dtype: torch.dtype) -> None:
        self._left, self._right = (torch.randn(*sizes, device=device, dtype=dtype) for sizes in ((m, k), (k, n)))
        self._out = torch.empty(m, n, device=device, dtype=dtype)
        self.flops = 2 * m * k * n

    def run(self) -> None:
        torch.mm(self._left, self._right, out=self._out)


def measure_copy_rate(device: torch.device, clock: Clock) -> float:
    """Measure the bytes/s of copying memory, read and written ones, the best of some repeats; clock: as above."""
    source = torch.ones(COPIED_BYTES.get(device.type, COPIED_BYTES["cpu"]), device=device, dtype=torch.uint8)
    target = torch.empty_like(source)
    samples = [seconds_of(lambda: target.copy_(source), 1, clock) for _ in range(1 + MOST_REPEATS)]
    return 2 * source.nbytes / min(samples[1:])  # The first copy touches the memory.


def _giga(value: float | None) -> float | None:
    return None if value is None else value / 1e9
