"""sequential: one HF session per group, reused for every target.

How: the session is conditioned on the references once; each target is put into its last slot, predicted one object at
a time, and cleared again.
Costs: time = T * O forward passes of batch one, so a GPU waits for launches most of the time; memory = one session,
about 5.75 MB per (reference, object) at 1024 px.
From: the HF session API used carefully (DESIGN section 1). It is the baseline, and the oracle of mask agreement.
"""

from __future__ import annotations

from strategies.base import Strategy
from strategies.session import TargetSession
from strategies.vocabulary import Predictions, References, VisionFeatures


class Sequential(Strategy):
    """One reused session; see the module's docstring."""

    _session: TargetSession | None = None

    def _prepare(self, references: References) -> None:
        self._session = TargetSession(self.model, references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        assert self._session is not None
        return Predictions.concatenate(
            [self._session.predict(targets[index : index + 1]) for index in range(len(targets))]
        )

    def _release(self) -> None:
        self._session = None
