"""A job's encoder: checked before the first target, and beside the device's matrix rate after a long run."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from harness.measure.cost import measure_matrix_rate
from harness.measure.samples import calls_of_a_sample, seconds_of
from harness.measure.timing import device_clock
from harness.pipeline.plan import Work
from harness.workload.encoder_check import check_encoder, flops_of_a_frame, is_standard
from strategies.components.encoder import Encoder
from strategies.errors import UserError, out_of_memory

LONG = 20.0
"""Seconds in the network after which the encoder's speed is worth a second of measuring."""


def checked(encoder: Encoder, plan: Sequence[Work], *, batch: int) -> str:
    """Check an encoder on the references of the first group that can be read, and return in words what came out.

    Empty where there is nothing to check, as for the eager encoder in fp32. Raises UserError where features are too far
    from those in fp32.
    """
    model = encoder.model
    if is_standard(encoder):
        return ""
    for work in plan:
        try:
            pixels = torch.stack([model.pixels(frame.image()) for frame in work.group.references])
        except UserError:  # The job itself tells what is broken.
            continue
        found = check_encoder(encoder, pixels, batch=batch)
        ways = ", ".join([*encoder.options, model.dtype])
        return (
            f"encoder ({ways}): features are {found.distance.rms:.1e} (rms) from those of the eager one in fp32, "
            f"where rounding explains {found.limit.rms:.1e}"
        )
    return ""


def speed_of(encoder: Encoder, *, batch: int, busy: float) -> str:
    """Measure an encoder alone and return its speed in words; empty where the network was not ``busy`` for long."""
    if busy < LONG:
        return ""
    model = encoder.model
    clock = device_clock(model.device)
    pixels = torch.zeros(batch, 3, model.side, model.side, device=model.device)
    try:
        calls = calls_of_a_sample(lambda: encoder(pixels), clock)
        seconds = seconds_of(lambda: encoder(pixels), calls, clock) / calls
        with model.computing():
            rate = measure_matrix_rate(model.device, model.dtype, clock)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return ""
    share = flops_of_a_frame(model) * batch / seconds / rate
    return f"encoder: {batch / seconds:.1f} frames/s alone, {share:.0%} of the matrix rate"
