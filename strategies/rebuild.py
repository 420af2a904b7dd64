"""rebuild: a new HF session for every target.

How: for each target the references are encoded again, a session is made and conditioned on them, the target is
predicted, and everything is thrown away.
Costs: time = T * (R encodings + R * O conditioning passes + O tracking passes); memory = one session. `flops` counts
the tracking passes alone, as it does for every strategy: encodings and conditioning passes come on top.
From: what a first script does (0.19 fps in the field report, DESIGN section 1). Exact by construction.
"""

from __future__ import annotations

from dataclasses import replace

from strategies.base import Strategy
from strategies.session import TargetSession
from strategies.vocabulary import Predictions, References, VisionFeatures


class Rebuild(Strategy):
    """A session per target; see the module's docstring."""

    builds_bank = False
    _references: References | None = None

    def _prepare(self, references: References) -> None:
        if references.pixels is None:
            raise ValueError("rebuild encodes the references for every target and needs their pixels")
        self._references = references

    def _predict(self, targets: VisionFeatures) -> Predictions:
        return Predictions.concatenate([self._predict_one(targets[index : index + 1]) for index in range(len(targets))])

    def _predict_one(self, target: VisionFeatures) -> Predictions:
        references = self._references
        assert references is not None
        assert references.pixels is not None
        features = self.model.vision_features(references.pixels.to(self.model.device))
        return TargetSession(self.model, replace(references, features=features)).predict(target)

    def _release(self) -> None:
        self._references = None
