"""The noise floor: what it is measured on, what it grows with, and what its limits let through."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
import torch

from harness.masks.noise import GROUPS, TARGETS, Sample, choose, measure_noise
from harness.masks.rule import ROUNDOFF, NoiseFloor
from strategies import Predictions, Sam2, Sequential
from strategies.models.precision import DTYPES
from tests.support.models import Pictures, group, masks_of


def shown(*targets: bool) -> Predictions:
    """Return predictions of one object that some targets show."""
    scores = torch.tensor(targets).float()[:, None] - 0.5
    count = len(targets)
    return Predictions(
        logits=torch.zeros(count, 1, 2, 2), object_scores=scores, ious=torch.zeros(count, 1, 3), object_ids=(1,)
    )


def sample(model: Sam2, pictures: Pictures, *, targets: int = 2) -> Sample:
    references = group(model, pictures, frames=(0, 1), present=[[True, True]] * 2)
    chosen = pictures.targets[:targets]
    return Sample(references=references, targets=chosen, expected=masks_of(Sequential(model), references, chosen))


def test_the_floor_is_measured_on_a_few_targets_that_show_an_object() -> None:
    expected = [shown(False, False), *[shown(*[index % 2 == 1 for index in range(100)])] * 5]
    chosen = choose(expected)
    assert len(chosen) == GROUPS
    assert 0 not in chosen
    for targets in chosen.values():
        assert len(targets) == len(set(targets)) == TARGETS
        assert all(target % 2 == 1 for target in targets)
        assert max(targets) - min(targets) > 50, "spread over the group"


def test_where_nothing_shows_an_object_any_target_will_do() -> None:
    assert choose([shown(False, False, False)]) == {0: [0, 1, 2]}


def test_every_dtype_has_its_roundoff() -> None:
    assert set(ROUNDOFF) >= set(DTYPES)
    for dtype in ("fp32", "fp16", "bf16"):
        assert ROUNDOFF[dtype] == torch.finfo(DTYPES[dtype]).eps / 2
    assert ROUNDOFF["tf32"] == ROUNDOFF["fp16"], "as many bits behind the point"


@pytest.mark.slow
def test_the_floor_is_the_same_each_time(model: Sam2, pictures: Pictures) -> None:
    one = sample(model, pictures)
    assert measure_noise(model, [one]) == measure_noise(model, [one])


@pytest.mark.slow
def test_the_floor_is_some_roundoffs_and_grows_with_them(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = sample(model, pictures)
    fine = measure_noise(model, [one])
    assert ROUNDOFF["fp32"] < fine.fine.logits.median < 64 * ROUNDOFF["fp32"]
    assert ROUNDOFF["bf16"] / 16 < fine.coarse.logits.largest < 16 * ROUNDOFF["bf16"], "of memory, stored in bf16"
    monkeypatch.setitem(ROUNDOFF, "fp32", 2.0**-14)
    coarse = measure_noise(model, [one])
    assert 100 * fine.fine.logits.median < coarse.fine.logits.median < 10_000 * fine.fine.logits.median


@pytest.mark.slow
def test_a_sequential_that_overflows_has_no_floor_to_hide_behind(model: Sam2, pictures: Pictures) -> None:
    one = sample(model, pictures)
    broken = replace(one, expected=replace(one.expected, logits=one.expected.logits * math.nan))
    assert measure_noise(model, [broken]).fine.logits.largest == math.inf


@pytest.mark.slow
def test_a_floor_comes_back_from_its_file(model: Sam2, pictures: Pictures) -> None:
    floor = measure_noise(model, [sample(model, pictures)])
    assert NoiseFloor.from_json(json.loads(json.dumps(asdict(floor)))) == floor
