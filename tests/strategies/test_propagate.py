"""What `propagate` does that no other strategy does: targets are remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from strategies import Propagate, References, Sam2, Sequential, VisionFeatures
from tests.support.ladder import assert_same_bits
from tests.support.models import SAM2_TOY, TOLERANCE, TWINS, Pictures, every_family, masks_of, pick
from tests.support.sessions import assert_other_masks, references_of
from tests.support.tensors import new_tensor_bytes
from tests.support.traps import relative_error

VIDEO = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 2, 5, 8)
"""Pictures that are the targets: more than a session looks back, and more than the span of object pointers."""


@pytest.fixture(scope="module")
def video(model: Sam2, pictures: Pictures) -> VisionFeatures:
    return encoded_alone(model, pictures.pixels[list(VIDEO)])


def encoded_alone(model: Sam2, pixels: Tensor) -> VisionFeatures:
    """Encoded one at a time, as a session does: a batch has other roundings in some families."""
    return VisionFeatures.concatenate([model.encode_pixels(one[None]) for one in pixels])


@pytest.fixture(scope="module")
def as_shipped(model: Sam2, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Logits ``[T, O, H, W]`` and scores ``[T, O]`` of the video, as a user of transformers gets them."""
    return shipped_masks(model, references_of(model, pictures), pictures.pixels[list(VIDEO)])


def shipped_masks(model: Sam2, references: References, targets: Tensor) -> tuple[Tensor, Tensor]:
    """targets: pixels ``[T, 3, S, S]``."""
    session = model.session.hf_session(
        video=torch.cat([references.pixels, targets]),
        video_height=model.side,
        video_width=model.side,
        dtype=torch.float32,
    )
    for frame, masks in enumerate(references.masks):
        for object_id, mask in zip(references.object_ids, masks, strict=True):
            session.add_mask_inputs(session.obj_id_to_idx(object_id), frame, mask[None, None].float())
        session.obj_with_new_inputs = list(references.object_ids)
        model.network(session, frame_idx=frame)
    frames = list(model.network.propagate_in_video_iterator(session, start_frame_idx=len(references)))
    return (
        torch.stack([frame.pred_masks[:, 0] for frame in frames]),
        torch.stack([frame.object_score_logits.flatten() for frame in frames]),
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "batch"),
    [(SAM2_TOY, 1), (SAM2_TOY, 9), (SAM2_TOY, len(VIDEO)), *((name, 9) for name in TWINS)],
    indirect=["model"],
)
def test_propagate_gives_what_the_session_as_shipped_gives(
    model: Sam2, pictures: Pictures, video: VisionFeatures, as_shipped: tuple[Tensor, Tensor], batch: int
) -> None:
    references = references_of(model, pictures)
    assert references.pixels is not None
    references = replace(references, features=encoded_alone(model, references.pixels))
    masks = masks_of(Propagate(model), references, video, batch=batch)
    assert torch.equal(masks.logits, as_shipped[0])
    assert torch.equal(masks.object_scores, as_shipped[1])


@pytest.mark.slow
@every_family
def test_propagate_differs_from_sequential(model: Sam2, pictures: Pictures, video: VisionFeatures) -> None:
    assert not Propagate(model).exact
    references = references_of(model, pictures)
    propagated, alone = (masks_of(make(model), references, video) for make in (Propagate, Sequential))
    assert_other_masks(propagated, alone)


@pytest.mark.slow
def test_propagate_remembers_targets_but_its_first_knows_only_the_references(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures, frames=16)  # pointers have the longest span in either session
    propagated, alone = (masks_of(make(model), references, pictures.targets[:4]) for make in (Propagate, Sequential))
    assert_same_bits(propagated[:1], alone[:1])
    assert_other_masks(propagated[1:], alone[1:])


def test_propagated_masks_depend_on_the_order_of_targets(model: Sam2, pictures: Pictures) -> None:
    references = references_of(model, pictures)
    forward = masks_of(Propagate(model), references, pictures.targets[:4])
    swapped = masks_of(Propagate(model), references, pick(pictures.targets, (0, 2, 1, 3)))
    assert_same_bits(swapped[:1], forward[:1])
    assert_other_masks(swapped[3:], forward[3:])


def test_a_short_video_spreads_its_pointers_otherwise_than_propagate(
    model: Sam2, pictures: Pictures, video: VisionFeatures
) -> None:
    references = references_of(model, pictures)
    _, scores = shipped_masks(model, references, pictures.pixels[list(VIDEO[:3])])
    propagated = masks_of(Propagate(model), references, video[:3])
    assert relative_error(scores, propagated.object_scores) > 10 * TOLERANCE


@pytest.mark.slow
@pytest.mark.usefixtures("new_objects_only")
def test_propagate_holds_no_more_after_many_targets(model: Sam2, pictures: Pictures, video: VisionFeatures) -> None:
    with Propagate(model) as strategy:
        strategy.prepare(references_of(model, pictures))
        held = []
        for part in (video[:14], video[14:15], video[15:16], video[16:]):
            strategy.predict(part.clone())
            held.append(new_tensor_bytes())
    assert held[0] < held[1] == held[2] == held[3], "what is 15 frames back is out of sight"


@pytest.mark.slow
@every_family
@pytest.mark.parametrize("targets", [1, 9])
def test_propagates_flops_are_torchs_but_for_the_memory_encoder_and_some_pointers(
    model: Sam2, pictures: Pictures, video: VisionFeatures, targets: int
) -> None:
    with Propagate(model) as strategy, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        strategy.prepare(references_of(model, pictures))
        with FlopCounterMode(display=False) as counter:
            strategy.predict(video[:targets])
        encoder = sum(
            sum(of_module.values())
            for name, of_module in counter.get_flop_counts().items()
            if name.endswith((".memory_encoder", ".spatial_perceiver"))
        )
        counted = counter.get_total_flops() - encoder
        assert encoder > 0
        if targets <= 7:  # no frame is remembered by its pointer alone
            assert strategy.flops(targets) == counted
        assert 0.98 * counted < strategy.flops(targets) <= counted
