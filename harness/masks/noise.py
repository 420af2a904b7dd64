"""The noise floor: differences of `sequential` from itself when its inputs are off by rounding.

A session run twice on one machine gives the same bits, so the floor is measured with noise in its inputs. There are
two kinds of noise, because there are two roundings:

- *fine*: one unit roundoff of the computing dtype in the targets' features, as if sums had been done in another order,
  and in half of the draws a few roundoffs of fp32 in the references' features too (`TIES`): stored memory is rounded to
  bf16 whatever the dtype (DESIGN section 3, trap 7), and so noise moves a value by a whole step wherever it lies in the
  middle between two bf16 neighbours;
- *coarse*: one unit roundoff of bf16 in the references' features. It moves every value of memory, so it bounds what a
  few ties can do (`harness.measure.judge` finds out whether ties are why an object is too far away).

The table was measured with the toy on a CPU whose two cores did other work too. `direct` is the farthest of the exact
strategies; those made of sessions have `sequential`'s bits.

======  =================  ================  ===================================================================
dtype   floor of the       limit of the      `direct`
        median mask        median mask
======  =================  ================  ===================================================================
fp32    3.6e-7             1.4e-6            at most 0.5 of a limit on 200 groups, and never called wrong
bf16    5.5e-3             1.1e-2 to 1.7e-2  at most 0.9 of a limit on 200 groups, and never called wrong
======  =================  ================  ===================================================================

A mistake that is smaller than the noise is not caught: in bf16 neither memory that is not rounded, raw positions,
rounded weights nor logits larger by half a percent. That is why `harness.measure.fp32` certifies such points in fp32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from harness.data.group import evenly
from harness.masks.agreement import AgreementMeter
from harness.masks.rule import ROUNDOFF, STORED, NoiseFloor
from strategies.models.tracker import Tracker
from strategies.oracle import Oracle
from strategies.vocabulary import Predictions, References, VisionFeatures

TIES = 2.0**-20
"""References' features are off by this share, sixteen roundoffs of fp32, so that stored memory ties elsewhere."""
GROUPS, TARGETS = 2, 4
"""The most groups, and targets of each: noise hardly depends on the picture, and every draw costs a session."""
PAIRS = 16
"""Noise is drawn so often that as many pairs are compared: with a few, as of one object, the floor would be too low."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some targets of a group, with what `sequential` predicts for them."""

    references: References
    targets: VisionFeatures
    expected: Predictions


def choose(expected: Sequence[Predictions]) -> dict[int, list[int]]:
    """Choose targets by group to measure the floor on: those that show an object, if there are any."""
    shown = [predictions.object_scores.gt(0).any(dim=1).nonzero().flatten().tolist() for predictions in expected]
    groups = [index for index, targets in enumerate(shown) if targets] or list(range(len(expected)))
    return {
        index: evenly(shown[index] or list(range(len(expected[index]))), TARGETS) for index in evenly(groups, GROUPS)
    }


def measure_noise(model: Tracker, samples: Sequence[Sample]) -> NoiseFloor:
    """Measure the floor of the model in its dtype, on its device, by seeded noise."""
    roundoff = ROUNDOFF[model.dtype]
    generator = torch.Generator().manual_seed(0)
    fine, coarse = AgreementMeter(), AgreementMeter()
    pairs = sum(sample.expected.object_scores.numel() for sample in samples)
    for _, (index, sample) in product(range(-(-PAIRS // pairs)), enumerate(samples)):
        for meter, share in ((fine, 0.0), (fine, max(roundoff, TIES)), (coarse, STORED)):
            with Oracle(model) as strategy:
                strategy.prepare(disturbed(sample.references, share, generator))
                rounded = noisy(sample.targets, roundoff, generator)
                meter.update(str(index), sample.expected, strategy.predict(rounded).cpu())
    finely, coarsely = fine.result(), coarse.result()
    assert finely is not None
    assert coarsely is not None
    return NoiseFloor(
        dtype=model.dtype,
        fine=finely.differences,
        coarse=coarsely.differences,
        largest_score=max(largest_in(sample.expected.object_scores) for sample in samples),
        largest_iou=max(largest_in(sample.expected.ious) for sample in samples),
        iou=finely.iou_mean,
        gate_flips=finely.gate_flips,
        pick_flips=finely.pick_flips,
        pairs=finely.pairs,
    )


def disturbed(references: References, share: float, generator: torch.Generator) -> References:
    """Return references whose features are off by this share."""
    return replace(references, features=noisy(references.features, share, generator)) if share else references


def largest_in(values: Tensor) -> float:
    """Return the largest absolute value of those that are finite, or 0 where none is."""
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if finite.numel() else 0.0


def noisy(features: VisionFeatures, share: float, generator: torch.Generator) -> VisionFeatures:
    """Multiply features by 1 + share * normal, and round them to the dtype that they are stored in."""

    def disturb(level: Tensor) -> Tensor:
        noise = torch.randn(level.shape, generator=generator, dtype=torch.float64).to(level.device)
        return (level.double() * (1 + share * noise)).to(level.dtype)

    return VisionFeatures(
        embedding=disturb(features.embedding), stride4=disturb(features.stride4), stride8=disturb(features.stride8)
    )
