"""What every strategy promises its caller, and what the words of the vocabulary mean."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

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
    UserError,
    VisionFeatures,
)
from strategies.direct import BANKS
from tests.support.models import TOKENS, Pictures, assert_same_masks, every_family, group, masks_of, pick
from tests.support.tensors import new_tensor_bytes

MakeStrategy = Callable[[Sam2], Strategy]

every_strategy = pytest.mark.parametrize(
    "make",
    [
        Rebuild,
        Sequential,
        Propagate,
        MultiSession,
        ExtendedSession,
        lambda model: ExtendedSession(model, positions="raw"),
        Direct,
        lambda model: Direct(model, bank="expand"),
    ],
    ids=[
        "rebuild",
        "sequential",
        "propagate",
        "multi_session",
        "extended_session",
        "extended_session positions=raw",
        "direct",
        "direct bank=expand",
    ],
)


def small_group(model: Sam2, pictures: Pictures, *, seed: int = 0) -> References:
    """Two references, three objects whose ids are neither in order nor next to each other."""
    present = [[True, True, False], [True, False, True]]
    return group(model, pictures, frames=(seed, seed + 1), present=present, object_ids=(7, 3, 250), seed=seed)


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


@pytest.fixture
def new_objects_only() -> Iterator[None]:
    """Keep what exists already out of the garbage collector's sight."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@every_family
@every_strategy
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
@every_family
@every_strategy
def test_object_ids_come_back_in_the_order_they_were_given(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    references = small_group(model, pictures)
    targets = pictures.targets[:2]
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
@every_family
@every_strategy
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
        logits=masks.logits[:, :2],
        object_scores=masks.object_scores[:, :2],
        ious=masks.ious[:, :2],
        object_ids=(7, 3),
    )
    assert_same_masks(fewer, expected)


# --- direct's options ----------------------------------------------------------------------------------------------


def test_an_unknown_bank_is_answered_with_the_ones_that_exist(model: Sam2) -> None:
    with pytest.raises(UserError) as error:
        Direct(model, bank="cached")
    sentence = str(error.value)
    assert "\n" not in sentence
    assert "bank=cached" in sentence
    assert all(bank in sentence for bank in BANKS)


def test_chunk_tokens_must_be_positive(model: Sam2) -> None:
    with pytest.raises(UserError, match="chunk_tokens=0 must be at least 1"):
        Direct(model, chunk_tokens=0)


@pytest.mark.slow
@pytest.mark.parametrize("bank", BANKS)
@pytest.mark.parametrize(("objects", "pairs_at_once"), [(1, 1), (3, 2), (3, 3), (2, 5), (5, 12), (3, 1000)])
def test_direct_never_has_more_than_a_chunk_in_flight(
    model: Sam2, pictures: Pictures, bank: str, objects: int, pairs_at_once: int
) -> None:
    references = group(model, pictures, frames=(0, 1), present=[[True] * objects] * 2)
    for batch in (1, 9):
        with Direct(model, bank=bank, chunk_tokens=pairs_at_once * TOKENS) as strategy, Watch(model) as watch:
            strategy.prepare(references)
            assert watch.remembered_pairs == [objects, objects], "as in a session, whatever a chunk is"
            assert sum(watch.decoded_pairs) == 2 * objects
            assert max(watch.decoded_pairs) <= pairs_at_once, "the decoder makes the object pointers"
            if pairs_at_once >= 2 * objects:
                assert watch.decoded_pairs == [2 * objects], "what fits one chunk goes at once"
            watch.clear()
            strategy.predict(pictures.targets[:batch])
        assert sum(watch.decoded_pairs) == batch * objects
        assert max(watch.decoded_pairs) <= pairs_at_once
        assert max(watch.attended_tokens) <= pairs_at_once * TOKENS
        if pairs_at_once >= batch * objects:
            assert watch.decoded_pairs == [batch * objects], "what fits one chunk goes at once"


class Watch:
    """Notes the batch of every call of memory encoder and mask decoder, and memory attention's tokens."""

    def __init__(self, model: Sam2) -> None:
        self._encoder = model.network.memory_encoder
        self._decoder = model.network.mask_decoder.iou_prediction_head
        self._attention = model.network.memory_attention.layers[-1].linear1
        self.clear()

    def clear(self) -> None:
        self.remembered_pairs: list[int] = []
        self.decoded_pairs: list[int] = []
        self.attended_tokens: list[int] = []

    def __enter__(self) -> Watch:
        self._hooks = [
            self._encoder.register_forward_pre_hook(self._remembering),
            self._decoder.register_forward_pre_hook(self._decoding),
            self._attention.register_forward_pre_hook(self._attending),
        ]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _remembering(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.remembered_pairs.append(inputs[0].shape[0])

    def _decoding(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.decoded_pairs.append(inputs[0].shape[0])

    def _attending(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        self.attended_tokens.append(inputs[0].shape[:-1].numel())


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


# --- vocabulary ----------------------------------------------------------------------------------------------------


def predictions_of(logits: Tensor, object_ids: tuple[int, ...]) -> Predictions:
    pairs = logits.shape[:2]
    return Predictions(
        logits=logits, object_scores=torch.ones(pairs), ious=torch.zeros(*pairs, 3), object_ids=object_ids
    )


def test_a_label_map_gives_each_pixel_the_id_of_the_highest_positive_logit() -> None:
    logits = torch.tensor([[5.0, -1.0, 2.0, -1024.0], [1.0, -2.0, 3.0, 0.0], [-1.0, -3.0, 1.0, -1024.0]])
    labels = predictions_of(logits.view(1, 3, 2, 2), (7, 3, 250)).label_map(0, size=(2, 2))
    assert labels.dtype == torch.int32
    assert labels.tolist() == [[7, 0], [3, 0]]


def test_the_masks_of_one_target_may_overlap_and_keep_the_order_of_the_ids() -> None:
    logits = torch.tensor([[5.0, -1.0, 2.0, -1024.0], [1.0, -2.0, 3.0, 0.0]]).view(1, 2, 2, 2)
    masks = predictions_of(logits, (7, 3)).masks(0, size=(2, 2))
    assert masks.dtype == torch.bool
    assert masks.tolist() == [[[True, False], [True, False]], [[True, False], [True, False]]]


def test_masks_and_label_maps_have_the_size_that_is_asked_for() -> None:
    logits = torch.full((2, 1, 32, 32), -3.0)
    logits[1, :, :, 16:] = 3.0  # the right half, in the second target only
    predictions = predictions_of(logits, (9,))
    assert not predictions.masks(0, size=(50, 80)).any()
    labels = predictions.label_map(1, size=(50, 80))
    assert labels.shape == (50, 80)
    assert (labels[:, 40:] == 9).all()
    assert (labels[:, :40] == 0).all()


def test_the_pick_is_the_first_of_the_best_and_its_margin_the_lead_over_the_next() -> None:
    ious = torch.tensor([[[0.25, 0.75, 0.5], [0.5, 0.125, 0.5]]])
    predictions = Predictions(
        logits=torch.ones(1, 2, 2, 2), object_scores=torch.ones(1, 2), ious=ious, object_ids=(7, 3)
    )
    assert predictions.picks.tolist() == [[1, 0]]
    assert predictions.pick_margins.tolist() == [[0.25, 0.0]]


def test_predictions_of_consecutive_batches_concatenate_to_those_of_one(model: Sam2, pictures: Pictures) -> None:
    with Sequential(model) as strategy:
        strategy.prepare(small_group(model, pictures))
        whole = strategy.predict(pictures.targets[:3])
        parts = Predictions.concatenate(
            [strategy.predict(pictures.targets[:2]), strategy.predict(pictures.targets[2:3])]
        )
    assert parts.object_ids == whole.object_ids
    assert torch.equal(parts.logits, whole.logits)
    assert torch.equal(parts.object_scores, whole.object_scores)
    assert torch.equal(parts.ious, whole.ious)


def test_references_refuse_masks_that_do_not_fit_the_frames_or_the_ids(model: Sam2, pictures: Pictures) -> None:
    references = small_group(model, pictures)
    with pytest.raises(ValueError, match="do not fit 1 reference frames and 3 object ids"):
        replace(references, features=references.features[:1])
    with pytest.raises(ValueError, match="do not fit 2 reference frames and 2 object ids"):
        replace(references, object_ids=(1, 2))


def test_references_refuse_an_empty_group(model: Sam2, pictures: Pictures) -> None:
    references = small_group(model, pictures)
    with pytest.raises(ValueError, match="at least one reference frame and one object"):
        replace(references, masks=references.masks[:0], features=references.features[:0])
    with pytest.raises(ValueError, match="at least one reference frame and one object"):
        replace(references, masks=references.masks[:, :0], object_ids=())


def test_references_refuse_an_id_that_occurs_twice(model: Sam2, pictures: Pictures) -> None:
    with pytest.raises(ValueError, match="object ids must differ"):
        replace(small_group(model, pictures), object_ids=(7, 3, 7))


def test_references_refuse_ids_that_are_not_positive(model: Sam2, pictures: Pictures) -> None:
    for absent in (0, -3):
        with pytest.raises(ValueError, match="object ids must be positive"):
            replace(small_group(model, pictures), object_ids=(7, absent, 250))


def test_references_refuse_masks_that_are_not_bool_or_lack_a_dimension(model: Sam2, pictures: Pictures) -> None:
    references = small_group(model, pictures)
    with pytest.raises(ValueError, match=r"masks must be bool \[R, O, S, S\], not torch.float32"):
        replace(references, masks=references.masks.float())
    with pytest.raises(ValueError, match=r"masks must be bool \[R, O, S, S\]"):
        replace(references, masks=references.masks[0])


@every_strategy
def test_masks_of_another_side_than_the_models_are_refused(model: Sam2, pictures: Pictures, make: MakeStrategy) -> None:
    references = small_group(model, pictures)
    small = replace(references, masks=references.masks[..., ::2, ::2])
    with pytest.raises(ValueError, match=r"masks are \(64, 64\), but toy takes them at 128"):
        masks_of(make(model), small, pictures.targets[:1])


def test_rebuild_says_that_it_needs_the_pixels(model: Sam2, pictures: Pictures) -> None:
    with pytest.raises(ValueError, match="needs their pixels"):
        Rebuild(model).prepare(replace(small_group(model, pictures), pixels=None))


def test_features_are_sliced_by_frame(pictures: Pictures) -> None:
    part = pictures.targets[2:5]
    assert len(part) == 3
    same = pick(pictures.targets, (2, 3, 4))
    assert torch.equal(part.embedding, same.embedding)
    assert torch.equal(part.stride4, same.stride4)
    assert torch.equal(part.stride8, same.stride8)
