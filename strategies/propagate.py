"""propagate: the HF session as shipped, tracking the targets one after another as the frames of a video.

How: the session is conditioned on the references (frames 0..R-1); the targets are the frames after them. Each is
predicted one object at a time, goes through the memory encoder with the masks it got, and is remembered. So masks
depend on the targets before, and on their order. A batch continues the video; `prepare` begins a new one. Times are
those of a stream, or of any video of 16 or more frames: shorter videos spread object pointers otherwise (DESIGN
section 3, trap 4).

Costs: time = T * O forward passes of batch one, each over (R + 6) * h*w + (R + 15) * C/64 memory tokens (6 is
num_maskmem - 1; `sequential` has R * (h*w + C/64)), plus T passes of the memory encoder over O masks. Memory = one
session, at 1024 px R * O * 8.75 MB (outputs and masks of the references) and 15 * O * 4.75 MB for targets.
As shipped it would be T * O * 4.75 MB (DESIGN section 3, trap 8), 138 GB for 29,066 targets and one object. Here the
session forgets what no later frame can see, which changes
no bit of any mask; about 100 bytes a target stay. Until 15 targets have passed, each has a bank of another length, for
which cuDNN's attention, where torch takes that on a GPU, makes a plan of its own; that is in the times.
From: what a user of transformers gets out of the box (DESIGN section 1). Not exact: the report says by how much.
"""

from __future__ import annotations

from strategies.base import Strategy
from strategies.components.flops import session_flops
from strategies.session import CandidateWatch, ConditionedSession
from strategies.vocabulary import Predictions, References, VisionFeatures


class Propagate(Strategy):
    """A session that remembers its targets; see the module's docstring."""

    exact = False
    remembers_targets = True
    _session: ConditionedSession | None = None

    def _prepare(self, references: References) -> None:
        self._frame = len(references)
        self._session = ConditionedSession(self.model, references, frames=self._frame)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        with CandidateWatch(self.model) as watch:
            return Predictions.concatenate(
                [self._predict_next(targets[index : index + 1], watch) for index in range(len(targets))]
            )

    def _predict_next(self, target: VisionFeatures, watch: CandidateWatch) -> Predictions:
        assert self._session is not None
        self._session.put(self._frame, target)
        predictions = self._session.track(self._frame, watch)
        self._session.session.drop_features()  # a frame's features are read while it is the current one
        self._session.session.forget(self._frame - self.model.horizon)
        self._frame += 1
        return predictions

    def flops(self, targets: int) -> int:
        """Return the FLOPs of the first so many targets of a group.

        A remembered frame counts as a reference does; the pointers of frames that are remembered by nothing else, 9 of
        them in the end, do not count: they are less than 1 % at 1024 px.
        """
        dimensions = self.model.dimensions
        one, two = (session_flops(dimensions, frames).per_pair for frames in (1, 2))
        remembered = sum(min(before, dimensions.recent_memories) for before in range(targets))
        return super().flops(targets) + len(self.object_ids) * remembered * (two - one)

    def _release(self) -> None:
        self._session = None
