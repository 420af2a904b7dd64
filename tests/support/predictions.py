"""Predictions by hand and drawn ones, and how they agree."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.masks.agreement import AgreementMeter
from harness.masks.rule import Agreement
from strategies.vocabulary import Predictions, VisionFeatures


def predictions(
    logits: Tensor, *, scores: Tensor | None = None, picks: Tensor | None = None, ids: tuple[int, ...] | None = None
) -> Predictions:
    pairs = logits.shape[:2]
    return Predictions(
        logits=logits,
        object_scores=torch.ones(pairs) if scores is None else scores,
        ious=torch.zeros(*pairs, 3) if picks is None else F.one_hot(picks, 3).float(),
        object_ids=ids or tuple(range(1, pairs[1] + 1)),
    )


def random_predictions(seed: int, *, targets: int = 6, objects: int = 2, side: int = 5) -> Predictions:
    """Draw predictions like a model's: about a quarter of the gates is closed, and their logits are -1024."""
    generator = torch.Generator().manual_seed(seed)
    logits = 8 * torch.randn(targets, objects, side, side, generator=generator)
    scores = torch.randn(targets, objects, generator=generator) + 0.7
    return predictions(
        torch.where((scores > 0)[..., None, None], logits, -1024.0),
        scores=scores,
        picks=torch.randint(3, (targets, objects), generator=generator),
    )


def take(whole: Predictions, index: Tensor | slice) -> Predictions:
    return Predictions(
        logits=whole.logits[index],
        object_scores=whole.object_scores[index],
        ious=whole.ious[index],
        object_ids=whole.object_ids,
    )


def agreement(*batches: tuple[Predictions, Predictions]) -> Agreement:
    meter = AgreementMeter()
    for expected, actual in batches:
        meter.update("group", expected, actual)
    result = meter.result()
    assert result is not None
    return result


def features(place: int) -> VisionFeatures:
    """One target's, which say which it is."""
    one = torch.full((1, 1, 1, 1), float(place))
    return VisionFeatures(embedding=one, stride4=one, stride8=one)


def row(*values: float) -> Tensor:
    """Return logits of one target, one object and one line of pixels."""
    return torch.tensor(values).reshape(1, 1, 1, -1)
