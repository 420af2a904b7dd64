"""Traps 4, 5, 8, 9 and 10: what a session makes of its length, of frame indices, and of what it has seen."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch
from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig, Sam3TrackerVideoConfig
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from strategies import Direct, References, Sam2, Sequential, VisionFeatures
from strategies.components.memory_bank import build_memory_bank
from strategies.models.sam2_family import NAMES, TOY_FOLDER, model_config
from strategies.models.sam2_session import Sam2Session
from tests.support.models import (
    TOLERANCE,
    Pictures,
    conditioned_session,
    copied,
    ellipses,
    every_family,
    group,
    masks_of,
    track,
)
from tests.support.traps import gates_opened, relative_error, repeated, session_masks, two_references


@every_family
@pytest.mark.parametrize(("frame", "frames"), [(2, 9), (8, 9)], ids=["a longer session", "a later frame"])
def test_trap_4_masks_depend_on_the_frame_index_and_on_the_sessions_length(
    model: Sam2, pictures: Pictures, frame: int, frames: int
) -> None:
    model = gates_opened(model)
    references = two_references(model, pictures)
    target = pictures.targets[:1]
    canonical = session_masks(model, references, target, frame=2, frames=3)
    naive = session_masks(model, references, target, frame=frame, frames=frames)
    assert relative_error(naive, canonical) > 10 * TOLERANCE

    for strategy in (Sequential(model), Direct(model)):
        ours = masks_of(strategy, references, VisionFeatures(**repeated(target, 8)), batch=8)
        for logits in ours.logits:
            assert relative_error(logits, canonical) < TOLERANCE


def test_trap_5_sam2_conditions_on_all_references_and_sam3_on_the_closest_four(model: Sam2) -> None:
    assert Sam2VideoConfig().max_cond_frame_num == -1
    assert model.network.config.max_cond_frame_num == -1
    assert Sam3TrackerVideoConfig().max_cond_frame_num == 4


@every_family
def test_trap_5_with_more_references_than_that_the_choice_depends_on_the_targets_index(
    model: Sam2, pictures: Pictures
) -> None:
    closest_two = copied(model)
    closest_two.network.config.max_cond_frame_num = 2
    references = group(closest_two, pictures, frames=range(4), present=[[True]] * 4)
    target = pictures.targets[:1]
    session = conditioned_session(closest_two, references, frames=12)
    found = {
        frame: sum(
            memory is not None
            for _, memory in closest_two.network._gather_memory_frame_outputs(session.hf, obj_idx=0, frame_idx=frame)
        )
        for frame in (4, 7, 11)
    }
    assert found == {4: 4, 7: 3, 11: 2}, "unselected references come back as ordinary memories while they are recent"

    bank = build_memory_bank(closest_two, references)
    assert bank.memory.shape[1] - bank.pointer_tokens == 4 * model.dimensions.memory_tokens
    many = VisionFeatures(**repeated(target, 8))
    expected = session_masks(closest_two, references, target, frame=4, frames=5)
    for strategy in (Sequential(closest_two), Direct(closest_two)):
        for logits in masks_of(strategy, references, many, batch=8).logits:
            assert relative_error(logits, expected) < TOLERANCE


def test_trap_8_a_session_grows_with_every_target(
    model: Sam2, pictures: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    references = two_references(model, pictures)
    naive = conditioned_session(model, references, frames=2 + 9)
    sizes = [session_bytes(naive)]
    for index in range(6):
        track(model, naive, pictures.targets[index : index + 1], frame=2 + index)
        sizes.append(session_bytes(naive))
    growth = {after - before for before, after in pairwise(sizes)}
    assert len(growth) == 1, "the same for every target"
    assert growth.pop() > 2 * model.side**2 * 4, "a full-resolution fp32 mask per object, at least"

    sessions: list[Sam2Session] = []
    new_session = model.new_session

    def observed(*, frames: int) -> Sam2Session:
        sessions.append(new_session(frames=frames))
        return sessions[-1]

    monkeypatch.setattr(model, "new_session", observed)
    with Sequential(model) as strategy:
        strategy.prepare(references)
        before = session_bytes(sessions[0])
        strategy.predict(pictures.targets)
        assert len(sessions) == 1
        assert session_bytes(sessions[0]) == before


def session_bytes(session: Sam2Session) -> int:
    return sum(
        value.numel() * value.element_size()
        for outputs in session.hf.output_dict_per_obj.values()
        for frames in outputs.values()
        for frame in frames.values()
        for value in frame.values()
    )


def test_trap_9_the_feature_cache_evicts_the_first_reference(model: Sam2, pictures: Pictures) -> None:
    naive, ours = model.new_session(frames=3), model.new_session(frames=3)
    naive.hf = Sam2VideoInferenceSession(max_vision_features_cache_size=3)
    for frame in (0, 1, 2, 2, 2):  # two references, and three targets one after another in the last slot
        for session in (naive, ours):
            session.inject(frame, pictures.references[frame : frame + 1])
    assert [naive.hf.cache.get_vision_features(frame) is None for frame in range(3)] == [True, False, False]
    assert [ours.hf.cache.get_vision_features(frame) is None for frame in range(3)] == [False, False, False]


def test_trap_10_a_session_fails_where_the_hidden_size_equals_the_memorys() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        narrow = Sam2(Sam2VideoModel(config_of_width(64)).eval().requires_grad_(False), name="toy")
        features = narrow.encode_pixels(torch.randn(2, 3, narrow.side, narrow.side))
    masks = ellipses(0, frames=1, objects=1, side=narrow.side)
    references = References(features=features[:1], masks=masks, object_ids=(1,))
    with pytest.raises(RuntimeError, match="same number of dimensions"):
        masks_of(Sequential(narrow), references, features[1:])

    for config in map(model_config, NAMES):
        assert config.vision_config.fpn_hidden_size > config.memory_encoder_output_channels == 64


def config_of_width(width: int) -> Sam2VideoConfig:
    """The toy, with another hidden size."""
    toy = json.loads((TOY_FOLDER / "config.json").read_text())
    toy["vision"]["fpn_hidden_size"] = width
    toy["prompt_encoder"]["hidden_size"] = width
    toy["mask_decoder"] |= {"hidden_size": width, "iou_head_hidden_dim": width}
    toy["video"] |= {
        "memory_attention_hidden_size": width,
        "memory_encoder_hidden_size": width,
        "mask_downsampler_embed_dim": width,
        "memory_fuser_embed_dim": width,
    }
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(backbone_config=Sam2HieraDetConfig(**toy["backbone"]), **toy["vision"]),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(**toy["prompt_encoder"]),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(**toy["mask_decoder"]),
        **toy["video"],
    )
