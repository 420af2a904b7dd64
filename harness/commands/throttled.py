"""A strategy that is throttled by a known share, so that the harness can be tested; it is not one to use."""

from __future__ import annotations

from typing import Any

from harness.measure.making import make_strategy
from harness.measure.timing import device_clock
from strategies.base import Strategy
from strategies.components.flops import PredictionFlops
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, References, VisionFeatures


class Throttled(Strategy):
    """Takes 1 + ``share`` times as long to predict as the strategy in it, with the same masks.

    Its opponent has a share of 0, so that both wait for the device in the same way.
    """

    def __init__(self, model: Tracker, *, strategy: dict[str, Any], share: float) -> None:
        super().__init__(model)
        self._strategy = make_strategy(strategy, model)
        self.exact, self.builds_bank = self._strategy.exact, self._strategy.builds_bank
        self._share = share
        self._clock = device_clock(model.device)

    def _prepare(self, references: References) -> None:
        self._strategy.prepare(references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        began = self._clock()
        predictions = self._strategy.predict(targets)
        predicted = self._clock()
        end = predicted + self._share * (predicted - began)
        while self._clock() < end:  # Sleeping would not be exact enough, and would let the processor clock down.
            pass
        return predictions

    def _release(self) -> None:
        self._strategy.release()

    def _flops(self, references: int) -> PredictionFlops:
        return self._strategy._flops(references)
