"""What the network's side of a job does to one picture, one group and one batch, and how long it is busy with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.data.group import Frame
from harness.pipeline.meter import Meter
from harness.pipeline.plan import Work
from strategies.base import Strategy
from strategies.errors import out_of_memory
from strategies.models.tracker import Tracker
from strategies.preprocessing import label_map_to_masks
from strategies.vocabulary import Predictions, References


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture as the network takes it, fp32 ``[3, S, S]``. size: its height and width."""

    pixels: Tensor
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """A reference as the network takes it; masks are bool ``[O, S, S]``."""

    pixels: Tensor
    masks: Tensor


class Stages:
    """The stages before a mask is finished, each entered into the meter. Pictures may be read in any thread."""

    def __init__(self, model: Tracker, strategy: Strategy, meter: Meter) -> None:
        self._model = model
        self._strategy = strategy
        self._meter = meter

    def read_target(self, target: Frame) -> Picture:
        with self._meter.stage("read"):
            image = target.image()
            return Picture(pixels=self._model.pixels(image), size=image.shape[:2])

    def read_reference(self, work: Work, frame: Frame) -> Labels:
        with self._meter.stage("read"):
            assert frame.labels is not None
            labels: np.ndarray = frame.labels()
            masks = label_map_to_masks(labels, work.object_ids, side=self._model.side)
            return Labels(pixels=self._model.pixels(frame.image()), masks=masks)

    def prepare(self, work: Work, references: Sequence[Labels]) -> None:
        pixels = torch.stack([reference.pixels for reference in references])
        with self._meter.stage("encode"):
            features = self._model.encode_pixels(pixels)
        with self._meter.stage("predict"):
            self._strategy.prepare(
                References(
                    features=features,
                    masks=torch.stack([reference.masks for reference in references]),
                    object_ids=work.object_ids,
                    pixels=pixels,
                )
            )

    def predict(self, pixels: Tensor) -> Predictions:
        """Predict a batch ``[B, 3, S, S]``, onto the CPU; where memory is not enough for all of it, its halves."""
        try:
            with self._meter.stage("encode"):
                features = self._model.encode_pixels(pixels)
            with self._meter.stage("predict"):
                return self._strategy.predict(features).cpu()
        except Exception as error:
            if not out_of_memory(error) or len(pixels) == 1:
                raise
        # What failed is freed here, when its traceback is gone.
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
        half = len(pixels) // 2
        return Predictions.concatenate([self.predict(pixels[:half]), self.predict(pixels[half:])])
