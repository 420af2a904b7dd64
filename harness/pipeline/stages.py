"""What the network's side of a job does to one picture, one group and one batch, and how long it is busy with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.data.group import Frame
from harness.pipeline.decoding import read_target, side_of
from harness.pipeline.meter import Meter
from harness.pipeline.plan import Work
from harness.pipeline.references import Labels, encoded, read_reference
from strategies.base import Strategy
from strategies.components.encoder import Encoder
from strategies.errors import out_of_memory
from strategies.vocabulary import Predictions


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as the network takes it, fp32 ``[3, S, S]``. size: its height and width."""

    pixels: Tensor
    size: tuple[int, int]


class Stages:
    """The stages before a mask is finished, each entered into the meter. Pictures may be read in any thread."""

    def __init__(self, encoder: Encoder, strategy: Strategy, meter: Meter, *, decode: str) -> None:
        """decode: how pictures are read, ``label.decode`` of the options."""
        self._encoder = encoder
        self._model = encoder.model
        self._strategy = strategy
        self._meter = meter
        self._side = side_of(self._model, decode)

    def read_target(self, target: Frame) -> Picture:
        with self._meter.stage("read"):
            image, size = read_target(target, side=self._side)
            return Picture(pixels=self._model.pixels(image), size=size)

    def read_reference(self, work: Work, frame: Frame) -> Labels:
        with self._meter.stage("read"):
            return read_reference(work, frame, self._model)

    def prepare(self, work: Work, read: Sequence[Labels]) -> None:
        with self._meter.stage("encode"):
            references = encoded(work, read, self._encoder)
        with self._meter.stage("predict"):
            self._strategy.prepare(references)

    def predict(self, pixels: Tensor) -> Predictions:
        """Predict a batch ``[B, 3, S, S]``, onto the CPU; where memory is not enough for all of it, its halves."""
        try:
            with self._meter.stage("encode"):
                features = self._encoder(pixels)
            with self._meter.stage("predict"):
                return self._strategy.predict(features).cpu()
        except Exception as error:
            if not out_of_memory(error) or len(pixels) == 1:
                raise
        # What failed is freed here, when its traceback is gone.
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(pixels) // 2
        self._encoder.smaller(half)
        return Predictions.concatenate([self.predict(pixels[:half]), self.predict(pixels[half:])])
