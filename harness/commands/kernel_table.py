"""The extra that ``extras.before=[harness.commands.kernel_table.kernels]`` names: `harness.kernels` on many shapes.

It is one table for a device: the fused step and the library's, each checked and timed as that command does, for
batches, numbers of objects and of references, in the order of their worth.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

from harness.commands import kernels as command
from harness.commands.kernel_steps import Shape, draw, tolerance
from harness.isolate.extra import Part
from harness.measure.cost import measure_matrix_rate
from harness.measure.timing import device_clock
from harness.options.points import Point
from strategies.models.precision import DTYPES

TARGETS = (8, 1, 32)
OBJECTS = (1, 4)
FRAMES = (3, 1, 7)
"""Batches, objects and memory frames: what is measured first comes first."""
IMAGES = {
    "cuda": {"tokens": 4096, "width": 256, "memory": 64},
    "cpu": {"tokens": 16, "width": 64, "memory": 16},
}
"""Tokens of an image and widths of keys and memory: those of 1024 px; few in Triton's interpreter, which is slow."""
DTYPE = {"cuda": "bf16", "cpu": "fp32"}
ROUNDS = 10


def kernels(points: Sequence[Point]) -> Mapping[str, Part]:
    """Return a part for each shape. Raises UnavailableError where there is nothing that kernels run on."""
    kind = command.kernel_device().type
    shapes = [
        Shape(frames=frames, objects=objects, targets=targets, **IMAGES[kind])
        for targets, objects, frames in product(TARGETS, OBJECTS, FRAMES)
    ]
    return {
        f"{one.targets} targets, {one.objects} objects, {one.frames} frames": partial(_measured, one) for one in shapes
    }


def _measured(shape: Shape) -> dict[str, Any]:
    """Return the steps' times and errors, beside the rate of a matrix product at that moment."""
    device = command.kernel_device()
    dtype, clock, seed = DTYPE[device.type], device_clock(device), secrets.randbits(32)
    results = command.compare(shape, draw(shape, DTYPES[dtype], device, seed=seed), rounds=ROUNDS, clock=clock)
    return {
        "shape": asdict(shape),
        "dtype": dtype,
        "seed": seed,
        "tolerance": tolerance(dtype),
        "matrix_flop_per_s": measure_matrix_rate(device, dtype, clock),
        "results": [asdict(one) for one in results],
    }
