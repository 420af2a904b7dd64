"""Traps 1 to 3: prompts of several references, and batches through modules that are made for one frame."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers import Sam2VideoProcessor

from strategies import Direct, References, Sam2, Sequential, VisionFeatures
from strategies.components.mask_decoder import decode_best
from strategies.components.memory_attention import condition_per_pair, condition_shared, project_bank
from strategies.components.memory_bank import build_memory_bank
from strategies.components.two_way import TwoWay
from tests.support.models import (
    MOST_TARGETS,
    TOKENS,
    TOLERANCE,
    Pictures,
    add_masks,
    every_family,
    masks_of,
    of_whole_memories,
    track,
)
from tests.support.traps import gates_opened, relative_error, two_references


@every_family
def test_trap_1_masks_added_on_all_references_at_once_condition_on_the_first_only(
    model: Sam2, pictures: Pictures
) -> None:
    references = two_references(model, pictures)
    other_second = references.masks.clone()
    other_second[1] = other_second[1].flip(-1, -2)
    changed = replace(references, masks=other_second)
    target = pictures.targets[:1]

    assert torch.equal(masks_added_at_once(model, references, target), masks_added_at_once(model, changed, target)), (
        "naive code does not see the second reference's masks"
    )
    for strategy in (Sequential(model), Direct(model)):
        before, after = (masks_of(strategy, each, target) for each in (references, changed))
        assert not torch.allclose(before.object_scores, after.object_scores, atol=1e-2)


def masks_added_at_once(model: Sam2, references: References, target: VisionFeatures) -> Tensor:
    """Logits of the target by the example that everyone writes first: add all prompts, then propagate."""
    session = model.new_session(frames=len(references) + 1)
    for frame in range(len(references)):
        session.inject(frame, references.features[frame : frame + 1])
        add_masks(session, references, frame)
    session.hf.obj_with_new_inputs = list(references.object_ids)
    with model.computing():
        for frame in range(len(references)):
            model.network(session.hf, frame_idx=frame)
    assert [list(outputs["cond_frame_outputs"]) for outputs in session.hf.output_dict_per_obj.values()] == [[0], [0]]
    return track(model, session, target, frame=len(references))


def test_trap_1_the_processors_list_of_ids_is_emptied_by_the_model_but_ours_is_kept(
    model: Sam2, pictures: Pictures
) -> None:
    references = two_references(model, pictures)
    session = model.new_session(frames=3)
    session.inject(0, references.features[:1])
    ids = [7, 3]
    # Unbound: making a processor wants torchvision (trap 12), and this method only needs the size.
    Sam2VideoProcessor.process_new_mask_for_video_frame(
        SimpleNamespace(target_size=model.side), session.hf, 0, ids, list(references.masks[0])
    )
    model.network(session.hf, frame_idx=0)
    assert ids == []

    for strategy in (Sequential(model), Direct(model)):
        masks_of(strategy, references, pictures.targets[:1])
        assert references.object_ids == (7, 3)


@every_family
def test_trap_2_a_batch_through_single_frame_forward_answers_with_target_0s_mask(
    model: Sam2, pictures: Pictures
) -> None:
    model = gates_opened(model)
    targets, count = conditioned(model, pictures), MOST_TARGETS
    with model.computing():
        ours, scores, ious = decode_best(model, TwoWay(model), targets.embedding, targets, objects=1)
    assert (scores > 0).all(), "else all masks are alike"
    assert ious.argmax(dim=-1).unique().numel() > 1

    alone = torch.cat([single_frame_forward(model, targets[index : index + 1]) for index in range(count)])
    naive = single_frame_forward(model, targets)
    assert naive.shape == (count, count, 32, 32), "the batch occurs twice, and there is no axis of objects"
    assert relative_error(naive[0, 0], alone[0, 0]) < TOLERANCE
    for index in range(1, count):
        assert relative_error(naive[index, 0], alone[index, 0]) > 0.1
    assert relative_error(ours, alone) < TOLERANCE


def conditioned(model: Sam2, pictures: Pictures) -> VisionFeatures:
    """The targets as the decoder sees them: their embeddings conditioned on the memory of one object."""
    references = two_references(model, pictures, seed=9).first_objects(1)
    with model.computing():
        bank = project_bank(model, build_memory_bank(model, references))
        return replace(pictures.targets, embedding=condition_shared(model, pictures.targets.embedding, bank))


def single_frame_forward(model: Sam2, targets: VisionFeatures) -> Tensor:
    images = [targets.stride4, targets.stride8, targets.embedding]
    with model.computing():
        logits: Tensor = model.network._single_frame_forward(image_embeddings=images, multimask_output=True).pred_masks
    return logits


@of_whole_memories
def test_trap_3_one_memory_for_a_batch_of_queries_is_split_across_the_targets(model: Sam2, pictures: Pictures) -> None:
    targets = pictures.targets[:2].embedding
    references = two_references(model, pictures).first_objects(1)
    with model.computing():
        bank = build_memory_bank(model, references)
        with pytest.raises(RuntimeError):  # with pointers: the memory does not split evenly
            memory_attention(model, targets, bank.memory, bank.position, pointers=bank.pointer_tokens)

        without = replace(
            bank,
            memory=bank.memory[:, : -bank.pointer_tokens],
            position=bank.position[:, : -bank.pointer_tokens],
            pointer_tokens=0,
        )
        expected = torch.cat(
            [memory_attention(model, target[None], without.memory, without.position, pointers=0) for target in targets]
        )
        naive = memory_attention(model, targets, without.memory, without.position, pointers=0)
        first_reference = memory_attention(
            model, targets[:1], without.memory[:, :TOKENS], without.position[:, :TOKENS], pointers=0
        )
        assert naive.shape == expected.shape, "no error, yet"
        assert relative_error(naive, expected) > 0.01
        assert relative_error(naive[:1], first_reference) < TOLERANCE, "each target saw one reference of the two"

        shared = condition_shared(model, targets, project_bank(model, without))
        assert relative_error(shared, expected) < TOLERANCE
        for copies in (True, False):
            per_pair = condition_per_pair(model, targets, without, copies=copies)
            assert relative_error(per_pair, expected) < TOLERANCE


def memory_attention(model: Sam2, embedding: Tensor, memory: Tensor, position: Tensor, *, pointers: int) -> Tensor:
    """The network's own module, ``[T, C, h, w]``, as a session calls it."""
    out = model.network.memory_attention(
        current_vision_features=embedding.flatten(2).permute(2, 0, 1),
        current_vision_position_embeddings=model.embedding_position.transpose(0, 1),
        memory=memory.transpose(0, 1),
        memory_posision_embeddings=position.transpose(0, 1),
        num_object_pointer_tokens=pointers,
    )
    return out.reshape(-1, *out.shape[-2:]).transpose(1, 2).unflatten(2, embedding.shape[-2:])
