"""extended_session: one HF session with a slot for every target of a batch.

How: the session is conditioned on the references once (frames 0..R-1) and has B slots more, frames R..R+B-1. The
features of up to B targets are put into the slots at once; then the network runs slot by slot and object by object.
A slot's outputs are kept aside and cleared before the next slot runs, in either mode: they hold no memory features, as
the memory encoder does not run on targets, and the network fails on a remembered frame without them.

``positions`` says where in time a slot sees the references, which the network encodes into their object pointers:

- ``raw``: where the session has them. An offset is the slot's frame less the reference's, over the session's length
  less 1 (at most 15), so masks depend on the slot that a target happens to get, and on B (DESIGN section 3, trap 4).
  Models whose pointers know no time (SAM2 before 2.1) give the same masks in every slot;
- ``pinned``: just before the slot, in a session of R+1 frames. The network is made to believe that the session has so
  many frames, and the references' memories are moved next to each slot before its turn. That changes frame numbers in a
  session of our own and nothing in the network, and the arithmetic is that of `sequential`.

Costs: time = T * O forward passes of batch one over R * (h*w + C/64) memory tokens, as `sequential`: slots gather the
features but save no pass. Memory = one session, at 1024 px R * O * 8.75 MB (outputs and masks), plus the features of B
targets, 16 MB each in fp32, of which the session holds views.
From: the field report's way to batch with the session API (DESIGN section 1). Exact where pinned, and where the model
does not depend on time.
"""

from __future__ import annotations

from typing import Literal, get_args

from strategies.base import Strategy
from strategies.errors import UserError, one_of
from strategies.models.tracker import Tracker
from strategies.session import CandidateWatch, ConditionedSession
from strategies.vocabulary import Predictions, References, VisionFeatures

Positions = Literal["pinned", "raw"]
POSITIONS: tuple[Positions, ...] = get_args(Positions)


class ExtendedSession(Strategy):
    """One session with many slots; see the module's docstring.

    slots: B; a larger batch goes through them in rounds, and a smaller one leaves the last of them empty.
    """

    exact_where = "positions are pinned, or the model knows no times"
    _session: ConditionedSession | None = None

    def __init__(self, model: Tracker, *, slots: int = 8, positions: Positions = "pinned") -> None:
        super().__init__(model)
        if slots < 1:
            raise UserError(f"slots={slots} must be at least 1")
        one_of("positions", positions, POSITIONS)
        self.slots = slots
        self.positions = positions
        self.exact = self.exact and (positions == "pinned" or not model.depends_on_time)

    def _prepare(self, references: References) -> None:
        self._first = len(references)
        self._session = ConditionedSession(self.model, references, frames=self._first + self.slots)
        if self.positions == "pinned":
            self._session.session.set_length(self._first + 1)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        rounds = [targets[start : start + self.slots] for start in range(0, len(targets), self.slots)]
        with CandidateWatch(self.model) as watch:
            return Predictions.concatenate([masks for part in rounds for masks in self._predict_round(part, watch)])

    def _predict_round(self, targets: VisionFeatures, watch: CandidateWatch) -> list[Predictions]:
        assert self._session is not None
        slots = range(self._first, self._first + len(targets))
        for index, slot in enumerate(slots):
            self._session.put(slot, targets[index : index + 1])
        predictions = []
        for slot in slots:
            if self.positions == "pinned":
                self._session.session.renumber_conditioning_frames(slot - self._first)
            predictions.append(self._session.predict(slot, watch))
        self._session.session.drop_features()  # the references' features, too, have been used for the last time
        return predictions

    def _release(self) -> None:
        self._session = None
