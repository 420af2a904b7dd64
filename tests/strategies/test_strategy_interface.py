"""What every strategy promises its caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from strategies import (
    Direct,
    ExtendedSession,
    MultiSession,
    Predictions,
    Propagate,
    Rebuild,
    References,
    Sam2,
    Sequential,
    Strategy,
    VisionFeatures,
)
from tests.support.models import (
    SAM2_TOY,
    TWINS,
    Pictures,
    assert_same_masks,
    every_family,
    group,
    masks_of,
    small_group,
)
from tests.support.tensors import new_tensor_bytes

MakeStrategy = Callable[[Sam2], Strategy]


STRATEGIES: dict[str, MakeStrategy] = {
    "rebuild": Rebuild,
    "sequential": Sequential,
    "propagate": Propagate,
    "multi_session": MultiSession,
    "extended_session": ExtendedSession,
    "extended_session positions=raw": lambda model: ExtendedSession(model, positions="raw"),
    "direct": Direct,
    "direct bank=expand": lambda model: Direct(model, bank="expand"),
}
OF_FAMILIES = ("rebuild", "sequential", "extended_session", "direct")
"""Those by which the adapter of a family has to do all that it can be asked to."""
every_strategy = pytest.mark.parametrize("make", STRATEGIES.values(), ids=list(STRATEGIES))
every_strategy_of_every_family = pytest.mark.parametrize(
    ("model", "make"),
    [
        pytest.param(family, STRATEGIES[name], id=f"{name}-{family}")
        for family, names in ((SAM2_TOY, tuple(STRATEGIES)), *((twin, OF_FAMILIES) for twin in TWINS))
        for name in names
    ],
    indirect=["model"],
)


# --- the life of a strategy ----------------------------------------------------------------------------------------


@every_strategy
def test_predicting_before_preparing_is_an_error(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    with pytest.raises(RuntimeError, match="prepare a group"):
        make(model).predict(pictures.targets)


@every_strategy
def test_predicting_after_release_is_an_error(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    with make(model) as strategy:
        strategy.prepare(small_group(model, pictures))
        strategy.predict(pictures.targets[:1])
    assert strategy.object_ids == ()
    with pytest.raises(RuntimeError, match="prepare a group"):
        strategy.predict(pictures.targets[:1])


@every_strategy
def test_releasing_nothing_is_harmless(model: Sam2, make: MakeStrategy) -> None:
    strategy = make(model)
    strategy.release()
    strategy.release()


@every_strategy
def test_a_batch_without_targets_is_an_error(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    with make(model) as strategy:
        strategy.prepare(small_group(model, pictures))
        with pytest.raises(ValueError, match="at least one target"):
            strategy.predict(pictures.targets[:0])


@pytest.mark.slow
@every_strategy_of_every_family
@pytest.mark.usefixtures("new_objects_only")
def test_release_frees_everything_that_a_group_took(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    strategy = make(model)
    for _ in range(2):  # the second time, what transformers caches for good is there already
        before = new_tensor_bytes()
        strategy.prepare(small_group(model, pictures))
        strategy.predict(pictures.targets[:2])
        held = new_tensor_bytes()
        strategy.release()
        after = new_tensor_bytes()
    assert held > before
    assert after == before


@pytest.mark.slow
@every_strategy
@pytest.mark.usefixtures("new_objects_only")
def test_preparing_the_next_group_frees_the_one_before(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    with make(model) as strategy:
        strategy.prepare(small_group(model, pictures))
        held = new_tensor_bytes()
        for seed in (3, 5):
            strategy.prepare(small_group(model, pictures, seed=seed))
        assert new_tensor_bytes() == held


def test_the_group_before_is_freed_before_the_next_is_built(model: Sam2, pictures: Pictures) -> None:
    events = []

    class Diary(OneByOne):
        def _prepare(self, references: References) -> None:
            events.append("prepare")
            super()._prepare(references)

        def _release(self) -> None:
            events.append("release")

    strategy = Diary(model)
    for seed in (0, 3):
        strategy.prepare(small_group(model, pictures, seed=seed))
    assert events == ["release", "prepare", "release", "prepare"]


@pytest.mark.slow
@every_strategy
def test_two_groups_in_turn_do_not_leak_into_each_other(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    targets = pictures.targets[:2]
    first = small_group(model, pictures)
    second = group(model, pictures, frames=(5, 6, 7), present=[[True, True]] * 3, object_ids=(1, 7), seed=5)
    alone = [masks_of(make(model), references, targets) for references in (first, second)]
    strategy = make(model)
    in_turn = []
    for references in (first, second, first):
        strategy.prepare(references)
        in_turn.append(strategy.predict(targets))
    for masks, expected in zip(in_turn, (*alone, alone[0]), strict=True):
        assert masks.object_ids == expected.object_ids
        assert torch.equal(masks.logits, expected.logits)


# --- what comes back -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_strategy_of_every_family
def test_object_ids_come_back_in_the_order_they_were_given(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    references = small_group(model, pictures)
    targets = pictures.targets[:1]
    with make(model) as strategy:
        strategy.prepare(references)
        assert strategy.object_ids == (7, 3, 250)
        masks = strategy.predict(targets)
    assert masks.object_ids == (7, 3, 250)
    order = [2, 0, 1]
    shuffled = replace(references, masks=references.masks[:, order], object_ids=(250, 7, 3))
    expected = Predictions(
        logits=masks.logits[:, order],
        object_scores=masks.object_scores[:, order],
        ious=masks.ious[:, order],
        object_ids=(250, 7, 3),
    )
    assert_same_masks(masks_of(make(model), shuffled, targets), expected)


@pytest.mark.slow
@every_strategy_of_every_family
def test_predictions_have_the_documented_shapes_and_dtypes(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    masks = masks_of(make(model), small_group(model, pictures), pictures.targets[:2])
    assert len(masks) == 2
    assert (masks.logits.shape, masks.logits.dtype) == ((2, 3, 32, 32), torch.float32)
    assert (masks.object_scores.shape, masks.object_scores.dtype) == ((2, 3), torch.float32)
    assert (masks.ious.shape, masks.ious.dtype) == ((2, 3, 3), torch.float32)
    assert (masks.picks.shape, masks.picks.dtype) == ((2, 3), torch.int64)


@every_family
@pytest.mark.parametrize(
    "make",
    [Sequential, lambda model: MultiSession(model, sessions=1), ExtendedSession, Direct],
    ids=["sequential", "multi_session sessions=1", "extended_session", "direct"],
)
def test_no_target_goes_through_the_memory_encoder(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    batches: list[int] = []
    with make(model) as strategy:
        hook = model.network.memory_encoder.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
        try:
            strategy.prepare(small_group(model, pictures))
            prepared = sum(batches)
            strategy.predict(pictures.targets[:3])
        finally:
            hook.remove()
    assert prepared == 2 * 3, "each reference for each object"
    assert sum(batches) == prepared


@pytest.mark.slow
@every_strategy
def test_an_object_does_not_depend_on_which_others_are_predicted(
    model: Sam2, pictures: Pictures, make: MakeStrategy
) -> None:
    references = small_group(model, pictures)
    masks = masks_of(make(model), references, pictures.targets[:2])
    fewer = masks_of(make(model), references.first_objects(2), pictures.targets[:2])
    expected = Predictions(
        logits=masks.logits[:, :2], object_scores=masks.object_scores[:, :2], ious=masks.ious[:, :2], object_ids=(7, 3)
    )
    assert_same_masks(fewer, expected)


# --- a strategy of one's own ---------------------------------------------------------------------------------------


class OneByOne(Strategy):
    """The least that a strategy has to be."""

    def _prepare(self, references: References) -> None:
        self._inner = Direct(self.model)
        self._inner.prepare(references)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        return Predictions.concatenate([self._inner.predict(targets[i : i + 1]) for i in range(len(targets))])


def test_a_strategy_of_ones_own_needs_two_methods(model: Sam2, pictures: Pictures) -> None:
    references = small_group(model, pictures)
    assert OneByOne.exact
    masks = masks_of(OneByOne(model), references, pictures.targets)
    assert_same_masks(masks, masks_of(Direct(model), references, pictures.targets, batch=9))


def test_a_strategy_computes_without_gradients(model: Sam2, pictures: Pictures) -> None:
    class Probe(OneByOne):
        def _predict(self, targets: VisionFeatures) -> Predictions:
            assert torch.is_inference_mode_enabled()
            return super()._predict(targets)

    assert not torch.is_inference_mode_enabled()
    assert not masks_of(Probe(model), small_group(model, pictures), pictures.targets[:1]).logits.requires_grad


@every_strategy
def test_masks_of_another_side_than_the_models_are_refused(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    references = small_group(model, pictures)
    small = replace(references, masks=references.masks[..., ::2, ::2])
    with pytest.raises(ValueError, match=r"masks are \(64, 64\), but toy takes them at 128"):
        masks_of(make(model), small, pictures.targets[:1])


def test_rebuild_says_that_it_needs_the_pixels(model: Sam2, pictures: Pictures) -> None:
    with pytest.raises(ValueError, match="needs their pixels"):
        Rebuild(model).prepare(replace(small_group(model, pictures), pixels=None))
