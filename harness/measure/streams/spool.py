"""The steps of a free run on disk: in memory, a long video's masks would count as what its strategy takes."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.measure.streams.courses import Step
from harness.workload.storage import no_room
from strategies.vocabulary import Predictions


class Spool:
    """The number of each video's frame and what was predicted, step by step, in a file that goes when this does."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it is open for as long as this is kept.

    def add(self, numbers: dict[str, int], step: Step) -> None:
        """Keep a step. Raises UserError where the disk has no room for it."""
        try:
            pickle.dump((numbers, {video: _packed(one) for video, one in step.items()}), self._file)
            self._file.flush()
        except OSError as error:
            raise no_room(self._folder, "the masks of videos", cause=error.strerror) from error

    def __iter__(self) -> Iterator[tuple[dict[str, int], Step]]:
        """Yield all steps, in order."""
        end, at = self._file.seek(0, 2), 0
        while at < end:
            self._file.seek(at)
            numbers, step = pickle.load(self._file)
            at = self._file.tell()
            yield numbers, {video: _unpacked(*one) for video, one in step.items()}


def _packed(one: Predictions) -> tuple[Any, ...]:
    """Return ids and arrays, because pickled tensors take along what they are slices of."""
    return one.object_ids, *(values.cpu().numpy() for values in (one.logits, one.object_scores, one.ious))


def _unpacked(object_ids: tuple[int, ...], *arrays: np.ndarray) -> Predictions:
    logits, scores, ious = map(torch.from_numpy, arrays)
    return Predictions(logits=logits, object_scores=scores, ious=ious, object_ids=object_ids)
