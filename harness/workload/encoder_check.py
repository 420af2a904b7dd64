"""Whether an encoder's features are those of the network in fp32, as near as its dtype allows.

Like masks, features are held to a noise floor that is measured in the same process. For it the eager encoder in fp32
runs again with noise of one unit roundoff of the computing dtype in what each of its products gives out, as if that
had been rounded, or summed up in another order. Limits are as many times the floor as those of masks are
(`harness.masks.rule`). The toy on a CPU, on the references of four drawn groups:

======  ================  ================  ======================================
dtype   floor (rms)       limit (rms)       of which encoders used
======  ================  ================  ======================================
fp32    2.7e-7 to 3.7e-7  1.1e-6 to 1.5e-6  0 with channels last, 0.22 compiled
fp16    1.1e-3 to 1.6e-3  2.2e-3 to 3.2e-3  0.31 to 0.38, channels last or not
bf16    8.6e-3 to 1.2e-2  1.7e-2 to 2.5e-2  0.31 to 0.37, 0.30 compiled
======  ================  ================  ======================================
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from harness.masks.rule import ROUNDOFF, TIMES, TIMES_LARGEST
from harness.schema import Number
from strategies.components.encoder import Encoder
from strategies.errors import UserError
from strategies.models.tracker import Tracker
from strategies.vocabulary import VisionFeatures

FRAMES, DRAWS = 2, 2
"""Frames that are compared, and how often noise is drawn for each: every draw costs an encoding in fp32."""
PRODUCTS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far features are from others, in the level and the frame in which they are farthest.

    largest: the largest difference as a share of the level's largest feature. rms: the root mean square of differences
    as a share of that of features.
    """

    largest: Number
    rms: Number

    @staticmethod
    def between(found: VisionFeatures, right: VisionFeatures) -> Distance:
        """Return how far one frame's features are from others; NaN where some are not finite."""
        largest, rms = [], []
        for name, level in vars(right).items():
            theirs = level.double()
            difference = getattr(found, name).double() - theirs
            largest.append(difference.abs().max() / theirs.abs().max())
            rms.append((difference.square().mean() / theirs.square().mean()).sqrt())
        return Distance(largest=float(torch.stack(largest).max()), rms=float(torch.stack(rms).max()))

    @staticmethod
    def farthest(some: Sequence[Distance]) -> Distance:
        """Return the farthest of each; NaN where one is."""
        largest, rms = torch.tensor([(one.largest, one.rms) for one in some], dtype=torch.float64).amax(dim=0)
        return Distance(largest=float(largest), rms=float(rms))


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What a check found. distance: from the eager encoder in fp32. floor: of that one under noise. limit: above it."""

    distance: Distance
    floor: Distance
    limit: Distance

    @property
    def fault(self) -> str | None:
        """Return in what features are too far from those in fp32, or None. What is not finite is too far."""
        for value, limit, what in (
            (self.distance.rms, self.limit.rms, "in the mean (rms)"),
            (self.distance.largest, self.limit.largest, "of the largest at one place"),
        ):
            if not value <= limit:
                return f"by {value:.1e} {what}, more than the {limit:.1e} that rounding explains"
        return None


class Fp32:
    """The eager encoder in fp32, which others of the same network are compared with, on a few frames."""

    def __init__(self, model: Tracker, pixels: Tensor) -> None:
        """pixels: of the frames, ``[N, 3, S, S]``."""
        self._plain = model.in_dtype("fp32")
        self._pixels = pixels
        self._right = [self._plain.encode_pixels(one) for one in pixels.split(1)]

    def check(self, features: VisionFeatures, *, dtype: str) -> Checked:
        """Compare features in a dtype of the frames, in their order and again from the first where there are more."""
        floor, step = self.floor(dtype), ROUNDOFF[dtype]
        limit = Distance(
            largest=TIMES_LARGEST[dtype] * max(step, floor.largest), rms=TIMES[dtype] * max(step, floor.rms)
        )
        return Checked(distance=self.distance(features), floor=floor, limit=limit)

    def distance(self, features: VisionFeatures) -> Distance:
        rows = range(len(features))
        return Distance.farthest(
            [Distance.between(features[row : row + 1], self._right[row % len(self._right)]) for row in rows]
        )

    def floor(self, dtype: str) -> Distance:
        """Measure how far the encoder is from itself under the noise of a dtype, which is seeded."""
        generator = torch.Generator(self._plain.device).manual_seed(0)
        with _noise(self._plain.stage_modules.vision_encoder, ROUNDOFF[dtype], generator):
            noisy = [self._plain.encode_pixels(one) for one in self._pixels.split(1) for _ in range(DRAWS)]
        right = [one for one in self._right for _ in range(DRAWS)]
        return Distance.farthest(list(map(Distance.between, noisy, right)))


def is_standard(encoder: Encoder) -> bool:
    """Return whether an encoder is the one that others are compared with."""
    return encoder.plain and encoder.model.dtype == "fp32"


def check_encoder(encoder: Encoder, pixels: Tensor, *, batch: int) -> Checked:
    """Check an encoder on a batch made of the first of some frames, ``[N, 3, S, S]``.

    Raises UserError where its features are farther from those in fp32 than its dtype explains.
    """
    model, pixels = encoder.model, pixels[:FRAMES]
    rows = torch.stack([pixels[row % len(pixels)] for row in range(max(batch, len(pixels)))])
    checked = Fp32(model, pixels).check(encoder(rows), dtype=model.dtype)
    if checked.fault is not None:
        way = ", ".join([*(f"encode.{name}=true" for name in encoder.options), f"dtype={model.dtype}"])
        raise UserError(
            f"the encoder's features with {way} differ from those of the eager encoder in fp32 {checked.fault}: leave "
            "that out, or give another dtype="
        )
    return checked


@contextmanager
def _noise(encoder: nn.Module, share: float, generator: torch.Generator) -> Iterator[None]:
    """Multiply what the products of a network give out by 1 + share * normal."""

    def disturb(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        noise = torch.randn(output.shape, generator=generator, device=output.device, dtype=torch.float64)
        return (output.double() * (1 + share * noise)).to(output.dtype)

    products = [module for module in encoder.modules() if isinstance(module, PRODUCTS)]
    handles = [module.register_forward_hook(disturb) for module in products]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


UNKNOWN = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
"""Attention that torch's counter does not know. To have it taken apart into products would cost 1 GB at 1024 px."""


def flops_of_a_frame(model: Tracker) -> int:
    """Return the FLOPs of encoding a frame; attention counts as its products, by whatever kernel it runs."""
    pixels = torch.zeros(1, 3, model.side, model.side, device=model.device)
    with model.computing(), FlopCounterMode(display=False, custom_mapping=UNKNOWN) as counted:
        model.vision_features(pixels)
    return int(counted.get_total_flops())
