"""The adapter of HF's SAM3 tracker, which is SAM2.1's network behind another image encoder.

The encoder's patches are 14 px wide, so the side of the input is no multiple of 16. Logits, the mask prompt and the
masks that enter memory have sides of 4, 4 and 16 tokens, and not of a quarter, a quarter and the whole of the input.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor
from transformers.image_utils import IMAGENET_STANDARD_MEAN, IMAGENET_STANDARD_STD
from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import Sam3TrackerVideoInferenceSession

from strategies.models.sam2 import Sam2
from strategies.models.sam2_session import Sam2Session

POSITIVE, NEGATIVE = 10.0, -10.0
"""The logits that the session gives the pixels of a mask before it resizes them."""


class Sam3TrackerSession(Sam2Session):
    """The session of SAM3's tracker."""

    hf_session = Sam3TrackerVideoInferenceSession


class Sam3Tracker(Sam2):
    """SAM3's tracker: what `Sam2` has, but for how pictures are normalised and masks are resized.

    It conditions on the closest four references, and takes the pointers of all (DESIGN section 3, trap 5).
    """

    pixel_mean = tuple(IMAGENET_STANDARD_MEAN)
    pixel_std = tuple(IMAGENET_STANDARD_STD)
    session = Sam3TrackerSession

    def spatial_memory(self, embedding: Tensor, mask: Tensor, visible: Tensor) -> Tensor:
        return self.stored_memory(embedding, self._remembered_mask(mask, like=embedding), visible)

    def remembered_logits(self, logits: Tensor) -> Tensor:
        return _resized(logits, self._memory_side)

    @property
    def _memory_side(self) -> tuple[int, ...]:
        return tuple(4 * size for size in self.network.prompt_encoder.mask_input_size)

    def low_resolution_prompt(self, mask: Tensor) -> Tensor:
        """The network's convolution makes it a quarter of the side; the session enlarges that, in fp32."""
        prompt = super().low_resolution_prompt(mask)
        return _resized(prompt.float(), self.network.prompt_encoder.mask_input_size).to(prompt.dtype)

    def _remembered_mask(self, mask: Tensor, *, like: Tensor) -> Tensor:
        """Return masks ``[N, 1, S, S]`` of 0 and 1 as the memory encoder sees them, 0 and 1 too.

        The session makes them logits, resizes these, and looks at the sign. Any other order may decide the pixels of
        an edge otherwise. like: the features whose dtype the logits have.
        """
        logits = mask * (POSITIVE - NEGATIVE) + NEGATIVE
        return (_resized(logits, self._memory_side).to(like.dtype) > 0).to(mask.dtype)


def _resized(masks: Tensor, size: tuple[int, ...]) -> Tensor:
    return F.interpolate(masks, size=size, mode="bilinear", align_corners=False, antialias=True)
