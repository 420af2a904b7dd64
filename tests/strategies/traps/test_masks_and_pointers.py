"""Trap 11: how masks are resized, and what the original does that transformers does not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor
from transformers import Sam2VideoProcessor

from strategies import Direct, Sam2, Sequential
from strategies.components.memory_bank import build_memory_bank
from strategies.preprocessing import label_map_to_masks
from tests.support.models import (
    TOLERANCE,
    Pictures,
    conditioned_session,
    every_family,
    group,
    masks_of,
    other_families,
    track,
)
from tests.support.traps import gates_opened, relative_error, two_references


def test_trap_11_masks_are_resized_as_hf_does_and_the_model_itself_would_leave_them_soft(
    model: Sam2, pictures: Pictures
) -> None:
    labels = np.zeros((300, 170), dtype=np.uint8)
    labels[40:215, 31:96] = 3
    labels[::7, 100:150] = 3  # lines, of which every way to resize makes something else
    session = model.new_session(frames=2)
    Sam2VideoProcessor.process_new_mask_for_video_frame(
        SimpleNamespace(target_size=model.side), session.hf, 0, [3], [torch.from_numpy(labels == 3)]
    )
    of_processor = session.hf.mask_inputs_per_obj[0][0].bool()[0, 0]
    ours = label_map_to_masks(labels, (3,), side=model.side)[0]
    assert torch.equal(ours, of_processor)
    nearest = F.interpolate(torch.from_numpy(labels == 3).float()[None, None], size=(model.side,) * 2)[0, 0] > 0
    assert not torch.equal(nearest, of_processor)

    references = group(model, pictures, frames=(0,), present=[[True]])
    small = F.interpolate(references.masks.float(), scale_factor=0.75, mode="area") >= 0.5
    soft, sharp = (
        conditioned_session(model, replace(references, masks=masks), frames=2)
        .hf.output_dict_per_obj[0]["cond_frame_outputs"][0]["pred_masks"]
        .unique()
        for masks in (small, references.masks)
    )
    assert soft.numel() > sharp.numel(), "the network resizes without a threshold"
    with pytest.raises(ValueError, match="takes them at 128"):
        masks_of(Direct(model), replace(references, masks=small), pictures.targets[:1])


@every_family
def test_trap_11_masks_enter_memory_and_the_prompt_as_the_session_resizes_them(model: Sam2, pictures: Pictures) -> None:
    references = group(model, pictures, frames=range(3), present=[[True]] * 3)
    with shown_masks(model) as ours, model.computing():
        build_memory_bank(model, references)
    with shown_masks(model) as of_session:
        conditioned_session(model, references, frames=4)
    for name in ("memory", "prompt"):
        assert torch.equal(torch.cat(ours[name]), torch.cat(of_session[name])), name


@other_families
def test_trap_11_nearest_neighbours_would_be_other_masks_where_they_are_enlarged(
    model: Sam2, pictures: Pictures
) -> None:
    references = group(model, pictures, frames=range(3), present=[[True]] * 3)
    with shown_masks(model) as seen, model.computing():
        build_memory_bank(model, references)
    resized = torch.cat(seen["memory"])
    if resized.shape[-1] == model.side:
        pytest.skip("this family's masks enter memory at the size of the input")
    nearest = F.interpolate(references.masks.float(), size=resized.shape[-2:]) > 0
    share = ((resized > 0) != nearest).float().mean()
    assert 0.001 < share < 0.1


@contextmanager
def shown_masks(model: Sam2) -> Iterator[dict[str, list[Tensor]]]:
    """What memory encoder and prompt encoder get of masks."""
    seen: dict[str, list[Tensor]] = {"memory": [], "prompt": []}
    hooks = [
        model.network.memory_encoder.register_forward_pre_hook(lambda _, inputs: seen["memory"].append(inputs[1])),
        model.network.prompt_encoder.register_forward_pre_hook(
            lambda _module, _inputs, given: seen["prompt"].append(given["input_masks"]), with_kwargs=True
        ),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


@every_family
@pytest.mark.parametrize("best", [0, 1, 2])
def test_trap_11_an_object_pointer_comes_from_the_best_of_three_and_not_from_the_single_mask(
    model: Sam2, pictures: Pictures, best: int
) -> None:
    partial = gates_opened(model)
    bias = partial.network.mask_decoder.iou_prediction_head.proj_out.bias
    bias.copy_(torch.where(torch.arange(4) == 1 + best, bias, bias - 50))
    references = group(partial, pictures, frames=range(2), present=[[True]] * 2)
    tokens: list[Tensor] = []
    decoded: list[tuple[Tensor, ...]] = []
    partial.network.object_pointer_proj.register_forward_pre_hook(lambda _, inputs: tokens.append(inputs[0]))
    partial.network.mask_decoder.register_forward_hook(lambda _, inputs, output: decoded.append(output))
    stored = conditioned_session(partial, references, frames=3).hf.output_dict_per_obj[0]["cond_frame_outputs"]
    assert len(stored) == len(tokens) == len(decoded) == 2
    for token, (_, ious, candidates, score) in zip(tokens, decoded, strict=True):
        assert candidates.shape[-2] == ious.shape[-1] == 3, "the original asks for one mask here"
        assert score > 0, "else it would be the pointer of no object"
        assert ious.argmax() == best
        assert torch.equal(token.flatten(), candidates[0, 0, best])

    bank = build_memory_bank(partial, references)
    ours = bank.memory[0, -bank.pointer_tokens :].unflatten(0, (2, -1)).flatten(1)
    theirs = torch.stack([output["object_pointer"].flatten() for output in stored.values()])
    assert relative_error(ours, theirs) < TOLERANCE


def test_trap_11_small_holes_are_not_filled(model: Sam2, pictures: Pictures) -> None:
    """The original fills holes of up to 8 pixels; HF's session and ours leave the decoder's logits alone."""
    references = two_references(model, pictures)
    session = conditioned_session(model, references, frames=3)
    shipped = track(model, session, pictures.targets[:1], frame=2)
    assert any(smallest_hole(logits > 0) <= 8 for logits in shipped)
    for strategy in (Sequential(model), Direct(model)):
        ours = masks_of(strategy, references, pictures.targets[:1]).logits[0]
        assert relative_error(ours, shipped) < TOLERANCE
        assert [smallest_hole(logits > 0) for logits in ours] == [smallest_hole(logits > 0) for logits in shipped]


def smallest_hole(mask: Tensor) -> int:
    """Pixels of the smallest patch of background that the mask encloses; very many where there is none."""
    patches, count = ndimage.label(~mask.numpy(), structure=np.ones((3, 3)))
    edge = {*patches[0], *patches[-1], *patches[:, 0], *patches[:, -1]}
    return min((int((patches == patch).sum()) for patch in range(1, count + 1) if patch not in edge), default=10**6)
