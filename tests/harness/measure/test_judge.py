"""Second looks: flips are settled by the oracle, ties of stored memory are found out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from harness.commands.certify_masks import HONEST
from harness.data.sources import open_groups
from harness.masks.agreement import AgreementMeter
from harness.masks.rule import Limits
from harness.measure import judge as judging
from harness.measure.fp32 import certify_in_fp32, judge_untimed
from harness.measure.judge import Judge, MaskCheck, suspects
from harness.options.config import EncodeConfig
from harness.workload.encode import Workload, encode_workload
from strategies import Direct, Predictions, Sam2
from strategies.components.memory_bank import MemoryBank
from strategies.components.static_shapes import Chunk
from strategies.planted_faults.calls import LargeBatchesScaled
from strategies.planted_faults.catalogue import Fault
from strategies.planted_faults.memory_bank import OneObjectUnrounded, PointersDropped
from strategies.planted_faults.predictions import GateForgotten, SecondBest
from strategies.session import CandidateOracle
from tests.support.harness_runs import point
from tests.support.models import Pictures, group, masks_of

SMALL: dict[str, Any] = {"targets": 4, "refs": 2, "batch": 2}


@pytest.fixture(scope="module")
def workload(model: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("workload") / "features"
    made = point(**SMALL)
    parts = replace(made.config.data, parts=5)  # type: ignore[call-arg]
    groups = open_groups(replace(made.config, data=parts))
    encode_workload(model, groups, options=EncodeConfig(batch=4, workers=1), folder=folder)
    return Workload(model, groups, folder)


def judged(workload: Workload, options: dict[str, Any]) -> tuple[MaskCheck, Limits]:
    return judge_untimed(replace(point(**SMALL).config, strategy=options), workload)


def test_the_oracle_has_all_candidates_and_the_expected_mask_is_one_of_them(model: Sam2, pictures: Pictures) -> None:
    references = group(model, pictures, frames=(0, 1), present=[[True, True, True]] * 2)
    expected = masks_of(Direct(model), references, pictures.targets[:2])
    candidates = CandidateOracle(model, references).candidates(pictures.targets[1:2])
    for index in range(3):
        taken = candidates[index, expected.picks[1, index]]
        if expected.object_scores[1, index] > 0:
            torch.testing.assert_close(taken, expected.logits[1, index], rtol=1e-3, atol=1e-3)
        assert (taken > -1000).all(), "before the gate"


@pytest.mark.slow
@pytest.mark.parametrize("options", HONEST, ids=str)
def test_exact_strategies_are_right(workload: Workload, options: dict[str, Any]) -> None:
    check, _ = judged(workload, dict(options))
    assert check.fault is None


class OtherPick(Direct):
    """Takes the other of the two best candidates where the first was taken, as if noise had: mask and IoUs fit."""

    noise = 0.0

    def _predict(self, targets: Any) -> Any:
        right = super()._predict(targets)
        logits, ious = right.logits.clone(), right.ious.clone()
        oracle = CandidateOracle(self.model, self.references)
        best, second = ious[0, 0].topk(2).indices.tolist()
        if right.object_scores[0, 0] > 0:
            ious[0, 0, [best, second]] = ious[0, 0, [second, best]]
            logits[0, 0] = oracle.candidates(targets[:1])[0, second] * (1 + self.noise)
        return replace(right, logits=logits, ious=ious)

    def _prepare(self, references: Any) -> None:
        self.references = references
        super()._prepare(references)


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "right"), [(0.0, True), (0.01, False)])
def test_a_flipped_pair_is_held_to_the_candidate_that_it_took(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, noise: float, right: bool
) -> None:
    monkeypatch.setattr(OtherPick, "noise", noise)
    encoded, expected = workload.groups[0], workload.expected(None)[0]
    strategy, meter = OtherPick(workload.model), AgreementMeter()
    strategy.prepare(encoded.references(workload.model.device))
    for at in range(len(encoded.targets)):
        found = strategy.predict(encoded.targets[at : at + 1].clone())
        meter.update(
            encoded.group.name, expected[at : at + 1], found, target=lambda _, at=at: encoded.targets[at : at + 1]
        )
    limits = Limits.above(workload.noise_floor(None))
    flips = len(meter.flips)
    check = Judge(workload, None, limits, batch=4).judge(meter, strategy)
    assert flips > 0
    assert check.agreed is not None
    assert check.agreed.pick_flips >= flips
    used = check.agreed.differences.logits.largest / limits.differences.logits.largest
    assert (used <= 1) == right


@pytest.mark.slow
@pytest.mark.parametrize("made", [SecondBest, GateForgotten, PointersDropped, OneObjectUnrounded])
def test_mistakes_are_found(workload: Workload, made: type[Direct]) -> None:
    check, _ = judged(workload, Fault(name="", made=made).options)
    assert check.fault is not None


@pytest.mark.slow
def test_a_lone_object_that_only_large_batches_spoil_is_no_tie(workload: Workload) -> None:
    lone = replace(point(**SMALL).config, objects=1, strategy=Fault(name="", made=LargeBatchesScaled).options)
    limits = Limits.above(workload.noise_floor(1))
    assert limits.ties.logits.largest > 1e-3, "it could be one by its size"
    assert judge_untimed(replace(lone, batch=4), workload)[0].fault is not None


class Tied(Direct):
    """One value of the first object's memory went the other way when it was rounded; only with these references."""

    def __init__(self, model: Sam2) -> None:
        super().__init__(model)
        self.looks = 0

    def _chunk_on(self, memory: MemoryBank) -> Chunk:
        self.looks += 1
        if self.looks > 1:  # looked at again, with other references
            return super()._chunk_on(memory)
        tokens = memory.memory.clone()
        tokens[0, : tokens.shape[1] - memory.pointer_tokens] *= 1 + 2.0**-12
        return super()._chunk_on(replace(memory, memory=tokens))


@pytest.mark.slow
@pytest.mark.parametrize("again", [True, False], ids=["looked at again", "without a second look"])
def test_an_object_whose_memory_ties_is_looked_at_again(
    workload: Workload, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    monkeypatch.setattr(judging, "LOOKS", judging.LOOKS if again else 0)
    check, _ = judged(workload, {"_target_": f"{Tied.__module__}.{Tied.__qualname__}"})
    assert (check.fault is None) == again
    if again:
        assert check.agreed is not None
        assert len(check.agreed.excused) == 1


@pytest.mark.parametrize(("objects", "moved", "suspected"), [(2, 2, 2), (6, 3, 3), (6, 4, 0)])
def test_ties_can_be_why_of_few_objects_or_of_up_to_half(
    workload: Workload, objects: int, moved: int, suspected: int
) -> None:
    limits = Limits.above(workload.noise_floor(None))
    scores = torch.ones(3, objects)
    logits = torch.ones(3, objects, 2, 2)
    right = Predictions(
        logits=logits, object_scores=scores, ious=torch.rand(3, objects, 3), object_ids=tuple(range(1, objects + 1))
    )
    off = scores.clone()
    off[:, :moved] += 2 * limits.differences.scores.largest
    assert 2 * limits.differences.scores.largest < limits.ties.scores.largest
    meter = AgreementMeter()
    meter.update("group", right, replace(right, object_scores=off))
    assert [name for _, _, name in suspects(meter, limits)] == [f"group/{at + 1}" for at in range(suspected)]


def test_what_is_farther_away_than_any_tie_is_no_suspect(workload: Workload) -> None:
    expected = workload.expected(None)[0]
    limits = Limits.above(workload.noise_floor(None))
    meter = AgreementMeter()
    meter.update("group", expected, replace(expected, object_scores=expected.object_scores * 1.5))
    assert suspects(meter, limits) == []


@pytest.mark.slow
def test_a_strategy_is_certified_in_fp32_on_a_few_targets(workload: Workload) -> None:
    made = point(**SMALL)
    assert certify_in_fp32(made, workload).masks == "same"
    made.config.strategy = Fault(name="", made=PointersDropped).options
    found = certify_in_fp32(made, workload)
    assert found.masks == "differ"
    assert found.note is not None
    assert found.agreement is not None
    assert found.agreement.targets <= 8


def test_where_fp32_does_not_fit_nothing_is_said_of_it(workload: Workload, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(Workload, "in_fp32", fail)
    found = certify_in_fp32(point(**SMALL), workload)
    assert found.masks is None
    assert found.note == "not certified in fp32: there is not enough memory"
