"""How two strategies are timed: their inputs, their room on the device, and the groups that are timed."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.sources import open_groups
from harness.measure.blocks import TargetBlock, moved
from harness.measure.correctness import Meters
from harness.measure.predict import Predict, PredictionBlock
from harness.measure.speed import measure_speed, run_sustained
from harness.measure.speed_measurement import SpeedMeasurement
from harness.options.config import EncodeConfig, SyntheticConfig, TimingConfig
from harness.workload.encode import EncodedGroup, Workload, encode_workload
from strategies import Direct, Predictions, References, Sam2, Sequential, Strategy, VisionFeatures
from tests.support.harness_runs import point

quick = settings(deadline=None, derandomize=True, max_examples=60)

CPU = torch.device("cpu")
TARGETS = 5
BRIEF = TimingConfig(groups=4, min_seconds=0, min_rounds=2, max_seconds=0, warmup_seconds=0, block_seconds=60)


@pytest.fixture(scope="module")
def workload(model: Sam2, tmp_path_factory: pytest.TempPathFactory) -> Workload:
    folder = tmp_path_factory.mktemp("timed")
    data = SyntheticConfig(name="synthetic", groups=3, parts=2, height=64, width=64)
    groups = open_groups(point(data=data, targets=TARGETS, refs=1).config)
    encode_workload(model, groups, options=EncodeConfig(), folder=folder)
    return Workload(model, groups, folder)


class Noted(Direct):
    """Remembers what it was given."""

    def __init__(self, model: Sam2) -> None:
        super().__init__(model)
        self.given: list[VisionFeatures] = []

    def _predict(self, targets: VisionFeatures) -> Predictions:
        self.given.append(targets)
        return super()._predict(targets)


def hold(
    workload: Workload, candidate: Strategy, baseline: Strategy | None, *, meters: Meters | None = None, **options: Any
) -> SpeedMeasurement:
    config = point(**({"timing": BRIEF, "batch": 2} | options)).config
    ticks = iter(range(10**6))
    expected = workload.expected(None) if meters is not None else None
    scenario = Predict(
        config, workload, candidate=candidate, baseline=baseline, expected=expected, meters=meters or Meters()
    )
    return measure_speed(scenario, config.timing, seed=0, clock=lambda: float(next(ticks)))


# --- inputs --------------------------------------------------------------------------------------------------------


def features(size: int = 4) -> VisionFeatures:
    return VisionFeatures(
        embedding=torch.randn(1, 3, size, size),
        stride4=torch.randn(1, 2, 4 * size, 4 * size),
        stride8=torch.randn(1, 2, 2 * size, 2 * size),
    )


@quick
@given(first=st.integers(0, 200), second=st.integers(0, 200))
def test_no_two_turns_have_the_same_inputs(first: int, second: int) -> None:
    given_features = features()
    a, b = moved(given_features, first), moved(given_features, second)
    assert torch.equal(a.embedding, b.embedding) == (first == second)
    assert torch.equal(a.stride4, b.stride4) == (first == second)


@quick
@given(step=st.integers(0, 15))
def test_a_moved_map_keeps_its_vectors_and_its_levels_stay_together(step: int) -> None:
    given_features = features()
    found = moved(given_features, step)
    assert torch.equal(found.embedding.flatten().sort().values, given_features.embedding.flatten().sort().values)
    down, right = divmod(step, 4)
    assert torch.equal(found.embedding, given_features.embedding.roll((down, right), dims=(2, 3)))
    assert torch.equal(found.stride8, given_features.stride8.roll((2 * down, 2 * right), dims=(2, 3)))
    assert torch.equal(found.stride4, given_features.stride4.roll((4 * down, 4 * right), dims=(2, 3)))


def block(encoded: EncodedGroup, *, moving: bool, count: int = TARGETS) -> TargetBlock:
    return TargetBlock(encoded, count=count, batch=2, device=CPU, moving=moving)


def test_a_block_has_all_its_targets_in_every_turn_in_another_order(workload: Workload) -> None:
    (encoded, *_) = workload.groups
    unmoved = block(encoded, moving=False)
    for turn in range(TARGETS + 1):
        batches = unmoved.inputs(turn)
        assert [len(batch) for batch in batches] == [2, 2, 1]
        order = [*range(turn % TARGETS, TARGETS), *range(turn % TARGETS)]
        assert torch.equal(VisionFeatures.concatenate(batches).embedding, encoded.targets.embedding[order])


def test_expected_predictions_come_in_the_order_of_the_turn(workload: Workload) -> None:
    (encoded, *_) = workload.groups
    (expected, *_) = workload.expected(None)
    found = block(encoded, moving=False, count=4).expected(3, expected)
    assert torch.equal(found.logits, expected.logits[[3, 0, 1, 2]])


@pytest.mark.parametrize("compared", [False, True])
def test_the_inputs_of_a_turn_are_freed_once_its_masks_are_checked(workload: Workload, compared: bool) -> None:
    (encoded, *_), (expected, *_) = workload.groups, workload.expected(None)
    targets = block(encoded, moving=False)
    timed = PredictionBlock("wings", targets, expected=expected if compared else None, meters=Meters())
    left = [weakref.ref(batch) for batch in timed.inputs(1)]
    assert all(batch() is not None for batch in left), "until then they are kept"
    masks = targets.expected(1, expected)
    timed.check(1, None, [masks[first : first + 2] for first in range(0, TARGETS, 2)])
    assert all(batch() is None for batch in left)


# --- speed ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_both_sides_get_the_same_inputs_in_their_blocks(workload: Workload, model: Sam2) -> None:
    baseline, candidate = Noted(model), Noted(model)
    hold(workload, candidate, baseline)
    # The first groups' warm-up, noise floor and so on aside, the last three batches are the last block of each side.
    # The baseline's last block is A of the pair B A: the inputs of the candidate's last block.
    for mine, theirs in zip(candidate.given[-3:], baseline.given[-3:], strict=True):
        assert torch.equal(mine.embedding, theirs.embedding)


@pytest.mark.slow
def test_masks_of_timed_blocks_are_compared_with_the_baselines_of_the_same_round(
    workload: Workload, model: Sam2
) -> None:
    meters = Meters()
    hold(workload, Direct(model), Sequential(model), meters=meters)
    agreed = meters.repeated.result()
    assert agreed is not None
    assert agreed.targets == 3 * 2 * 2 * TARGETS, "two candidate blocks a round, two rounds, three groups"
    assert agreed.differences.logits.largest <= 1e-4


class Careless(Direct):
    """A baseline that does not claim to be exact, and is not."""

    exact = False

    def _predict(self, targets: VisionFeatures) -> Predictions:
        return super()._predict(VisionFeatures.concatenate([targets[:1]] * len(targets)))


@pytest.mark.slow
def test_masks_are_not_compared_with_a_baseline_that_is_not_exact(workload: Workload, model: Sam2) -> None:
    meters = Meters()
    hold(workload, Direct(model), Careless(model), meters=meters)
    agreed = meters.repeated.result()
    assert agreed is not None
    assert agreed.differences.logits.largest <= 1e-4, "compared with `sequential`"


@pytest.mark.slow
def test_at_most_so_many_groups_are_timed(workload: Workload, model: Sam2) -> None:
    options = TimingConfig(**{**vars(BRIEF), "groups": 2})
    timed = hold(workload, Direct(model), Sequential(model), timing=options)
    assert list(timed.log_ratios) == ["specimen000", "specimen002"], "of three"
    assert timed.pooled.speedup is not None
    assert timed.pooled.speedup.rounds == 2 * 2


def test_alone_there_is_a_speed_and_no_speed_up(workload: Workload, model: Sam2) -> None:
    timed = hold(workload, Direct(model), None)
    assert timed.pooled.speedup is None
    assert timed.log_ratios == {}
    assert timed.pooled.fps > 0
    assert timed.note is None


# --- room on the device --------------------------------------------------------------------------------------------


class Cramped(Direct):
    """A strategy so large that, of all that were ever made, only one fits on the device."""

    room = 1
    inside: set[int] = set()  # noqa: RUF012 - shared by all on purpose

    def _prepare(self, references: References) -> None:
        if len(Cramped.inside | {id(self)}) > self.room:
            raise torch.OutOfMemoryError("no room for a second one")
        Cramped.inside.add(id(self))
        super()._prepare(references)

    def _release(self) -> None:
        Cramped.inside.discard(id(self))
        super()._release()


class Huge(Cramped):
    room = 0


@pytest.mark.slow
def test_sides_that_do_not_fit_together_take_turns(workload: Workload, model: Sam2) -> None:
    timed = hold(workload, Cramped(model), Cramped(model))
    assert timed.alternating
    assert timed.note is None
    assert [one.side for one in timed.blocks[:4]] == ["baseline", "candidate", "candidate", "baseline"]
    assert timed.pooled.speedup is not None
    assert not Cramped.inside


def test_where_the_baseline_does_not_fit_at_all_the_candidate_is_timed_alone_and_a_note_says_why(
    workload: Workload, model: Sam2
) -> None:
    timed = hold(workload, Direct(model), Huge(model))
    assert timed.pooled.speedup is None
    assert timed.note is not None
    assert "baseline strategy ran out of memory" in timed.note
    assert {one.side for one in timed.blocks} == {"candidate"}


def test_a_candidate_that_does_not_fit_is_out_of_memory(workload: Workload, model: Sam2) -> None:
    with pytest.raises(torch.OutOfMemoryError):
        hold(workload, Huge(model), Sequential(model))


def test_other_failures_are_no_reason_to_take_turns(workload: Workload, model: Sam2) -> None:
    class Failing(Noted):
        def _predict(self, targets: VisionFeatures) -> Predictions:
            raise RuntimeError("the third bolt is loose")

    with pytest.raises(RuntimeError, match="third bolt"):
        hold(workload, Direct(model), Failing(model))


# --- a sustained run -----------------------------------------------------------------------------------------------


def test_a_sustained_run_goes_on_for_its_time_and_counts_its_targets(workload: Workload, model: Sam2) -> None:
    ticks = iter(range(100))
    strategy = Noted(model)
    scenario = Predict(
        point(batch=2).config, workload, candidate=strategy, baseline=None, expected=None, meters=Meters()
    )
    given_before: list[int] = []
    found = run_sustained(
        scenario.timed_groups()[0],
        targets_per_call=2,
        seconds=3,
        clock=lambda: float(next(ticks)),
        begin=lambda: given_before.append(len(strategy.given)),
    )
    assert given_before == [1], "it begins when one call has warmed up"
    assert found.targets == 2 * (len(strategy.given) - 1)
    assert found.seconds == 3
