"""The interface that every batching strategy has."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import ClassVar, Self

from strategies.components.flops import PredictionFlops, session_flops
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, References, VisionFeatures


class Strategy(ABC):
    """One way to turn a group's references into masks for its targets.

    Use: `prepare` a group, `predict` as many batches of targets as you like, `release` (or leave the ``with`` block);
    preparing the next group releases the one before. A strategy holds one group at a time and is not thread-safe.

    Subclasses implement `_prepare`, `_predict` and, where they hold anything, `_release`; they run in inference
    mode and in the model's dtype.
    """

    exact_where: ClassVar[str] = ""
    """The condition under which a strategy is exact that is so only with some options or models, in words."""

    exact: bool = True
    """Whether the masks equal those of `sequential`, whatever the order and batch of targets (DESIGN section 1).
    Options may take that back, but not give it to a subclass that has given it up."""

    builds_bank: bool = True
    """Whether `prepare` builds the memory bank; a strategy that builds it for every target has no such stage."""

    remembers_targets: bool = False
    """Whether a target's masks depend on the targets before it, so that a group must be predicted from its first."""

    static: bool = False
    """Whether `predict` runs code that was compiled or recorded before, which nobody can watch from outside."""

    def __init__(self, model: Tracker) -> None:
        self.model = model
        self._object_ids: tuple[int, ...] | None = None
        self._reference_count = 0

    def prepare(self, references: References) -> None:
        """Build the memory bank of a group."""
        self.release()
        with self.model.computing():
            self._prepare(references)
        self._object_ids = references.object_ids
        self._reference_count = len(references)

    def predict(self, targets: VisionFeatures) -> Predictions:
        """Predict the masks of a batch of one or more targets, in their order."""
        if self._object_ids is None:
            raise RuntimeError("prepare a group before predicting its targets")
        if len(targets) == 0:
            raise ValueError("a batch needs at least one target")
        with self.model.computing():
            found = self._predict(targets)
        if type(found) is not Predictions:  # A subclass could put its work off until someone reads it.
            raise TypeError(f"{type(self).__name__} predicted {type(found).__name__}, and not Predictions itself")
        return found

    def flops(self, targets: int) -> int:
        """Return the FLOPs of predicting that many targets of the prepared group, in memory attention and mask decoder.

        The encoder and the bank do not count, not even where a strategy computes them for every target.
        """
        if self._object_ids is None:
            raise RuntimeError("prepare a group before counting the FLOPs of its targets")
        work = self._flops(self._reference_count)
        return targets * (work.per_target + len(self._object_ids) * work.per_pair)

    def release(self) -> None:
        """Forget the group and free its memory; this is harmless where no group is prepared."""
        self._object_ids = None
        self._release()

    @property
    def object_ids(self) -> tuple[int, ...]:
        """The ids of the prepared group's objects."""
        return self._object_ids or ()

    @property
    def pairs_at_once(self) -> int | None:
        """How many (target, object) pairs go through the network at once; None for a strategy that does not say."""
        return None

    @abstractmethod
    def _prepare(self, references: References) -> None: ...

    @abstractmethod
    def _predict(self, targets: VisionFeatures) -> Predictions: ...

    def _flops(self, references: int) -> PredictionFlops:
        """Return the session's FLOPs, as it is the canonical way; a strategy that computes less overrides this."""
        return session_flops(self.model.dimensions, references)

    def _release(self) -> None:  # noqa: B027 - a strategy may have nothing to free
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
