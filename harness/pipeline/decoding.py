"""How the pictures of targets are decoded: exactly, or with ``decode=fast`` at JPEG's own fractions of their size.

A JPEG at an eighth takes a third of the time, or less, and hardly any memory. What the network sees is then not the
same square to the bit, so that masks differ a little: a job labels a few targets both ways and tells how much.
References stay exact, because all masks of their group depend on them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from harness.data.group import Frame
from harness.data.images import is_reducible, read_reduced
from harness.masks.label_ious import object_ious
from harness.pipeline.plan import Work
from harness.pipeline.references import references_of
from strategies.base import Strategy
from strategies.components.encoder import Encoder
from strategies.errors import UserError
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions

COMPARED = 4
"""Targets that are labelled both ways."""


def side_of(model: Tracker, decode: str) -> int | None:
    """Return the side below which no picture is decoded; None where all are decoded exactly."""
    return model.side if decode == "fast" else None


def read_target(target: Frame, *, side: int | None) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a target's picture, uint8 ``[height, width, 3]``, and the height and width of all of it as displayed.

    side: that of `side_of`.
    """
    if side is None or target.picture is None:
        image = target.image()
        return image, (image.shape[0], image.shape[1])
    return read_reduced(target.picture, side=side)


@dataclass(frozen=True, kw_only=True)
class _Read:
    """A target that was read both ways: as the network takes it, fp32 ``[3, S, S]``, and its height and width."""

    exact: Tensor
    fast: Tensor
    size: tuple[int, int]


def difference_of_masks(plan: Sequence[Work], encoder: Encoder, strategy: Strategy, *, batch: int) -> str:
    """Label the first targets to which ``decode=fast`` applies both ways, and say how alike their masks are.

    Empty where it applies to none. Targets and references that can't be read are left out: the job itself tells.
    """
    ious: list[float] = []
    targets = 0
    for work in plan:
        read = list(islice(_read_both_ways(work, encoder.model), COMPARED - targets))
        if not read:
            continue
        try:
            ious += _both_ways(work, read, encoder, strategy, batch=batch)
        except UserError:
            continue
        targets += len(read)
        if targets == COMPARED:
            break
    if not targets:
        return ""
    return (
        f"decode=fast: IoU of masks with decode=exact over {targets} targets: "
        f"mean {np.mean(ious):.4f}, least {min(ious):.4f}"
    )


def _read_both_ways(work: Work, model: Tracker) -> Iterator[_Read]:
    """Yield a group's targets that can be decoded at a fraction, as they are asked for."""
    for target in work.group.targets:
        try:
            if target.picture is None or not is_reducible(target.picture, side=model.side):
                continue
            image, size = read_target(target, side=model.side)
            fast = model.pixels(image)
            image, _ = read_target(target, side=None)
        except UserError:
            continue
        exact = model.pixels(image)
        del image  # It is large, and the next one comes later.
        yield _Read(exact=exact, fast=fast, size=size)


def _both_ways(
    work: Work, targets: Sequence[_Read], encoder: Encoder, strategy: Strategy, *, batch: int
) -> list[float]:
    """Return the IoU of each object in each target; of masks that are both empty it is 1."""
    bank = references_of(work, encoder.model)
    predictions: list[Predictions] = []
    for squares in ([one.exact for one in targets], [one.fast for one in targets]):
        strategy.prepare(bank)
        parts = torch.stack(squares).split(batch)
        predictions.append(Predictions.concatenate([strategy.predict(encoder(part)).cpu() for part in parts]))
        strategy.release()
    ious: list[float] = []
    for at, target in enumerate(targets):
        exact, fast = (one.label_map(at, size=target.size, dtype=torch.uint8).numpy() for one in predictions)
        ious += object_ious(exact, fast, work.object_ids)
    return ious
