"""How far `sequential` is from itself when its inputs are off by rounding: the floor, and the limits above it.

A session run twice on one machine gives the same bits, so the floor is measured with noise in its inputs. Two kinds,
because there are two roundings:

- *fine*: one unit roundoff of the computing dtype in the targets' features, as if sums had been done in another order;
- *coarse*: also one unit roundoff of bf16 in the references' features, because the model stores memory in bf16 whatever
  the dtype (DESIGN section 3, trap 7). In fp32, noise takes a memory's value over the middle between two bf16
  neighbours once in some 20,000 values. Whether a strategy has such a tie is chance, and one is worth up to a hundred
  times the fine noise. Coarse noise moves all values, so it bounds what a few ties can do.

An exact strategy is judged by its median pair against fine noise, and by its worst pair and its flips against coarse
noise (`harness.masks.rule.Limits`).

Measured on a CPU, on 46 groups (fp16: 5, bf16: 36) of 1 to 16 references and 1 to 5 objects, with the toy and with the
network of the tests. `direct` is the farthest of the exact strategies; those made of sessions have `sequential`'s bits.

======  ==================  =================  ===============================  ========================================
dtype   typical floor, as   largest floor, as  `direct`, as a share of a limit  caught
        limits take it      limits take it
======  ==================  =================  ===============================  ========================================
fp32    2.4e-7 to 8e-7      3.9e-3 to 1.6e-2   0.01; 0.29 where memory ties     memory not rounded: 46 of 46, by 7 times
                                                                                and more; raw positions: 45 of 46
fp16    2e-3                3.9e-3             0.17                             two banks swapped: 3 of 3
bf16    1.6e-2 to 1.8e-2    1.6e-2 to 2.7e-2   0.29                             two banks swapped: 22 of 22
======  ==================  =================  ===============================  ========================================

What is smaller than the noise can't be seen in it: in bf16 neither memory that is not rounded nor raw positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from harness.masks.agreement import AgreementMeter
from harness.masks.rule import ROUNDOFF, STORED, Agreement, NoiseFloor
from strategies.models.tracker import Tracker
from strategies.oracle import Oracle
from strategies.vocabulary import Predictions, References, VisionFeatures

DRAWS = 2
"""Of fine noise; one of coarse noise follows."""
GROUPS, TARGETS = 2, 4
"""At most so many groups, and targets of each: noise hardly depends on the picture, and every draw costs a session."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Some targets of a group, with what `sequential` predicts for them."""

    references: References
    targets: VisionFeatures
    expected: Predictions


def choose(expected: Sequence[Predictions]) -> dict[int, list[int]]:
    """Which targets of which groups to measure the floor on; those that show an object, if there are any."""
    shown = [predictions.object_scores.gt(0).any(dim=1).nonzero().flatten().tolist() for predictions in expected]
    groups = [index for index, targets in enumerate(shown) if targets] or list(range(len(expected)))
    return {
        index: _spread(shown[index] or list(range(len(expected[index]))), TARGETS) for index in _spread(groups, GROUPS)
    }


def measure_noise(model: Tracker, samples: Sequence[Sample]) -> NoiseFloor:
    """The floor of the model in its dtype, on its device; seeded."""
    roundoff = ROUNDOFF[model.dtype]
    generator = torch.Generator().manual_seed(0)
    fine, coarse = AgreementMeter(), AgreementMeter()
    for index, sample in enumerate(samples):
        references = sample.references
        rounded = replace(references, features=_noisy(references.features, STORED, generator))
        for meter, seen, draws in ((fine, references, DRAWS), (coarse, rounded, 1)):
            with Oracle(model) as strategy:
                strategy.prepare(seen)
                for _ in range(draws):
                    disturbed = strategy.predict(_noisy(sample.targets, roundoff, generator))
                    meter.update(str(index), sample.expected, disturbed.cpu())
    return _floor(model.dtype, fine.result(), coarse.result())


def _floor(dtype: str, fine: Agreement | None, coarse: Agreement | None) -> NoiseFloor:
    assert fine is not None
    assert coarse is not None
    both = (fine, coarse)
    return NoiseFloor(
        dtype=dtype,
        typical_dlogit=fine.typical_dlogit,
        largest_dlogit=max(one.relative_dlogit for one in both),
        object_score=max(one.max_abs_dscore for one in both),
        predicted_iou=max(one.max_abs_diou for one in both),
        iou=min(one.iou_alike for one in both),
        gate_flips=sum(one.gate_flips for one in both),
        pick_flips=sum(one.pick_flips for one in both),
        targets=sum(one.targets for one in both),
    )


def _noisy(features: VisionFeatures, share: float, generator: torch.Generator) -> VisionFeatures:
    """Features times 1 + share * normal, rounded to the dtype that they are stored in."""

    def disturb(level: Tensor) -> Tensor:
        noise = torch.randn(level.shape, generator=generator, dtype=torch.float64).to(level.device)
        return (level.double() * (1 + share * noise)).to(level.dtype)

    return VisionFeatures(
        embedding=disturb(features.embedding), stride4=disturb(features.stride4), stride8=disturb(features.stride8)
    )


def _spread(values: list[int], most: int) -> list[int]:
    """At most so many of them, evenly spread."""
    count = min(len(values), most)
    return [values[index * len(values) // count] for index in range(count)]
