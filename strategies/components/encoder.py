"""The vision encoder by other ways than the model's own: compiled, or with an image's channels together in memory.

- ``compile``: by torch.compile, once, which takes a minute on a CPU and needs a C++ compiler there. Batches have one
  size: fewer frames are filled up with copies of the last one, and more go through in parts.
- ``channels_last``: the convolutions get pictures, and keep them, with the channels of a pixel next to each other.
  Hiera's blocks want tokens in that order, so that a copy of the first convolution's output is saved. Weights stay as
  they are: those that a convolution reorders at every call are a few thousand.

Neither changes the arithmetic but for the order of sums; `harness.workload.encoder_check` measures how far features are
from those of the model's own encoder in fp32. Without options this is that encoder, to the bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from strategies.components.compiled import compiled
from strategies.models.tracker import Tracker
from strategies.vocabulary import VisionFeatures


class Encoder:
    """A model's vision encoder, in the model's dtype; see the module's docstring."""

    def __init__(self, model: Tracker, *, batch: int, compile: bool = False, channels_last: bool = False) -> None:
        """batch: the number of frames that compiled code is made for."""
        self.model = model
        self._batch = batch
        self._compiled = compiled(model.vision_features, option="the encoder's compile") if compile else None
        self._format = torch.channels_last if channels_last else torch.contiguous_format

    @property
    def plain(self) -> bool:
        """Return whether it is the model's own encoder."""
        return not self.options

    @property
    def options(self) -> list[str]:
        """Return the names of the options that are on."""
        asked = {"compile": self._compiled is not None, "channels_last": self._format == torch.channels_last}
        return [name for name, on in asked.items() if on]

    def __call__(self, pixels: Tensor) -> VisionFeatures:
        """Encode normalised ``[N, 3, S, S]``. Raises UnavailableError where torch.compile can't work here."""
        if self._compiled is None:
            return self.model.encode_pixels(self._laid_out(pixels))
        parts = [self._filled_up(part) for part in pixels.split(self._batch)]
        return parts[0] if len(parts) == 1 else VisionFeatures.concatenate(parts)

    def smaller(self, batch: int) -> None:
        """Make compiled code for so many frames from here on, where memory is not enough for more."""
        self._batch = min(self._batch, batch)

    def _filled_up(self, pixels: Tensor) -> VisionFeatures:
        assert self._compiled is not None
        count = len(pixels)
        filled = torch.cat([pixels, pixels[-1:].expand(self._batch - count, -1, -1, -1)])
        with self.model.computing():
            features = self._compiled(self._laid_out(filled))
        return features if count == self._batch else features[:count]

    def _laid_out(self, pixels: Tensor) -> Tensor:
        """Return pixels on the model's device, in the order of memory that the convolutions are to keep."""
        return pixels.to(self.model.device, non_blocking=True).contiguous(memory_format=self._format)
