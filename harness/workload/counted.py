"""What the encoder's stage took: all of it, and the encoder itself."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.schema import Count, Number
from harness.workload.encoder_check import Checked
from strategies.components.encoder import Encoder
from strategies.vocabulary import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class Counted:
    """What the stage took.

    encode_seconds: wall time, from the first file read to the last feature on disk. encoded_frames: references too.
    network_seconds: of that time, what the encoder itself took. flops_per_frame: counted. checked: how far features are
    from those of the eager encoder in fp32; None where it is that one.
    """

    encode_seconds: Number
    encoded_frames: Count
    network_seconds: Number
    flops_per_frame: Count
    checked: Checked | None

    def matrix_share(self, matrix_rate: float) -> float:
        """Return the share of a rate in FLOP/s that the encoder reached; 1 where it was faster."""
        return min(1.0, self.flops_per_frame * self.encoded_frames / self.network_seconds / matrix_rate)


class Timed:
    """An encoder whose seconds are counted. It waits for the device, as the copy to the disk would do next."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self.seconds = 0.0

    def __call__(self, pixels: Tensor) -> VisionFeatures:
        device = self.encoder.model.device
        began = time.perf_counter()
        features = self.encoder(pixels)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        self.seconds += time.perf_counter() - began
        return features
