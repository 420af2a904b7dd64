"""What tests of `direct`'s options share: references of drawn pictures, refusals, and what ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch

from strategies import References, Sam2, Strategy, UnavailableError
from strategies.components.sdpa import observed
from strategies.direct import BANKS
from strategies.vocabulary import VisionFeatures
from tests.support.models import Pictures, group

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
every_bank = pytest.mark.parametrize("bank", BANKS)


def references(model: Sam2, pictures: Pictures, *, frames: int = 2, objects: int = 2, seed: int = 0) -> References:
    return group(model, pictures, frames=range(seed, seed + frames), present=[[True] * objects] * frames, seed=seed)


def refusal(make: Callable[[], object]) -> str:
    """Return the sentence which says that this machine can't."""
    with pytest.raises(UnavailableError) as refused:
        make()
    sentence = str(refused.value)
    assert "\n" not in sentence
    return sentence


def backends(strategy: Strategy, asked: References, targets: VisionFeatures) -> Counter[str]:
    """Count the backends of one batch, by a strategy that is warm."""
    with strategy:
        strategy.prepare(asked)
        strategy.predict(targets)
        with observed() as counts:
            strategy.predict(targets)
    return counts
