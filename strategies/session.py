"""Inference sessions conditioned on a group's references, for the strategies that drive sessions.

Frames 0..R-1 of a session are conditioning frames with the references' masks; targets go into the frames after them.
`TargetSession` is the canonical one (DESIGN section 1): R+1 frames, whose last takes one target after another and is
cleared in between, so that no target remembers another.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from strategies.components.stages import MEMORY_BANK, stage
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, References, VisionFeatures


class ConditionedSession:
    """A session of ``frames`` frames, at least R of them, that is conditioned on a group's references.

    session: the network's own, for what a strategy does differently.
    """

    def __init__(self, model: Tracker, references: References, *, frames: int) -> None:
        model.check_masks(references)  # the network would resize them and predict other masks
        self._object_ids = references.object_ids
        self.session = model.new_session(frames=frames)
        with stage(MEMORY_BANK):
            for frame in range(len(references)):
                self.put(frame, references.features[frame : frame + 1])
                self.session.condition(frame, references.masks[frame], references.object_ids)

    def put(self, frame: int, features: VisionFeatures) -> None:
        """Put one picture's features into a frame."""
        self.session.inject(frame, features)

    def predict(self, frame: int, watch: CandidateWatch) -> Predictions:
        """Predict the masks of the target in that frame, all objects; the session remembers nothing of them."""
        watch.start()
        logits, scores = self.session.predict(frame)
        return self._predictions(logits, scores, watch)

    def track(self, frame: int, watch: CandidateWatch) -> Predictions:
        """Predict as `predict` does, but have the session remember the masks, so that later frames see them."""
        watch.start()
        logits, scores = self.session.track(frame)
        return self._predictions(logits, scores, watch)

    def _predictions(self, logits: Tensor, scores: Tensor, watch: CandidateWatch) -> Predictions:
        return Predictions(logits=logits, object_scores=scores, ious=watch.ious()[None], object_ids=self._object_ids)


class TargetSession:
    """A session under the canonical semantics, with one slot for targets."""

    def __init__(self, model: Tracker, references: References) -> None:
        self._model = model
        self._slot = len(references)
        self._session = ConditionedSession(model, references, frames=self._slot + 1)

    def predict(self, target: VisionFeatures, watch: CandidateWatch | None = None) -> Predictions:
        """Predict the masks of one target, all objects of the group.

        watch: one that is entered already, else the session makes one of its own.
        """
        if watch is None:
            with CandidateWatch(self._model) as own:
                return self.predict(target, own)
        self._session.put(self._slot, target)
        return self._session.predict(self._slot, watch)


class CandidateOracle:
    """The source of all candidate masks of a target, as `sequential` has them before its gate and before it picks one.

    It tells whether a mask belongs to another choice; it holds one session.
    """

    def __init__(self, model: Tracker, references: References) -> None:
        self._model = model
        with model.computing():
            self._session = TargetSession(model, references)
        self._watch = CandidateWatch(model, masks=True)

    def candidates(self, target: VisionFeatures) -> Tensor:
        """Return the candidate masks of one target, fp32 ``[O, K, H, W]``."""
        with self._model.computing(), self._watch as watch:
            self._session.predict(target, watch)
            return watch.masks()


class CandidateWatch:
    """Notes the predicted IoUs by which a session picks a candidate mask: it keeps the mask alone.

    The decoder is shared by all sessions of a model, so each thread's notes are its own; and as torch takes no lock
    when hooks change, one watch serves all threads of a batch: enter it before they start and leave it after they end.
    """

    def __init__(self, model: Tracker, *, masks: bool = False) -> None:
        """Keep the candidate masks too, until `start`, if ``masks``; they are K times as large as predictions."""
        self._model = model
        self._keeps_masks = masks
        self._of_thread = threading.local()

    def __enter__(self) -> CandidateWatch:
        self._hook = self._model.watch_candidates(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def _note(self, ious: Tensor, masks: Tensor) -> None:
        notes = getattr(self._of_thread, "ious", None)
        if notes is None:  # The thread watches for itself, or not at all.
            return
        notes.append(ious)
        if self._keeps_masks:
            self._of_thread.masks.append(masks)

    def start(self) -> None:
        """Forget what was noted in this thread."""
        self._of_thread.ious, self._of_thread.masks = [], []

    def ious(self) -> Tensor:
        """Return this thread's IoUs since its start, fp32 ``[O, K]``; a session decodes its objects in order."""
        return torch.cat(self._of_thread.ious).flatten(0, 1).float()

    def masks(self) -> Tensor:
        """Return this thread's candidate masks since its start, fp32 ``[O, K, H, W]``, in the order of `ious`."""
        return torch.cat(self._of_thread.masks).flatten(0, 1).float()
