"""What the words of the vocabulary mean: predictions, references and features."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from strategies import Predictions, Sam2, Sequential
from tests.support.models import Pictures, pick, small_group


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


def test_features_are_sliced_by_frame(pictures: Pictures) -> None:
    part = pictures.targets[2:5]
    assert len(part) == 3
    same = pick(pictures.targets, (2, 3, 4))
    assert torch.equal(part.embedding, same.embedding)
    assert torch.equal(part.stride4, same.stride4)
    assert torch.equal(part.stride8, same.stride8)
