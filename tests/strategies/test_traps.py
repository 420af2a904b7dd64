"""The traps of DESIGN section 3: what naive code gets, and that this package does not.

Each test is named after its trap, so that a release of transformers that changes one is noticed by name.
"""

from __future__ import annotations

import ast
import copy
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn
from transformers import (
    Sam2HieraDetConfig,
    Sam2ImageProcessor,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VideoProcessor,
    Sam2VisionConfig,
    Sam3TrackerVideoConfig,
    image_utils,
)
from transformers import models as transformers_models
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from harness.masks.agreement import AgreementMeter
from strategies import Direct, References, Sam2, Sam3Tracker, Sequential, VisionFeatures
from strategies.components.mask_decoder import decode_best
from strategies.components.memory_attention import condition_per_pair, condition_shared, project_bank
from strategies.components.memory_bank import build_memory_bank
from strategies.components.two_way import TwoWay
from strategies.models.sam2_family import NAMES, TOY_FOLDER, model_config
from strategies.models.sam2_session import Sam2Session
from strategies.preprocessing import image_to_pixels, label_map_to_masks
from tests.support.models import (
    MOST_TARGETS,
    TOKENS,
    TOLERANCE,
    Pictures,
    add_masks,
    conditioned_session,
    copied,
    ellipses,
    every_family,
    group,
    masks_of,
    of_whole_memories,
    other_families,
    track,
)
from tests.support.paths import ROOT


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual - expected).abs().max() / expected.abs().max())


def two_references(model: Sam2, pictures: Pictures, *, seed: int = 0) -> References:
    return group(model, pictures, frames=(0, 1), present=[[True, True]] * 2, object_ids=(7, 3), seed=seed)


# --- trap 1 --------------------------------------------------------------------------------------------------------


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


# --- trap 2 --------------------------------------------------------------------------------------------------------


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


def gates_opened(model: Sam2) -> Sam2:
    """A copy that sees every object everywhere."""
    open_to_all = copied(model)
    open_to_all.network.mask_decoder.pred_obj_score_head.proj_out.bias.add_(10)
    return open_to_all


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


# --- trap 3 --------------------------------------------------------------------------------------------------------


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


# --- trap 4 --------------------------------------------------------------------------------------------------------


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


def session_masks(model: Sam2, references: References, target: VisionFeatures, *, frame: int, frames: int) -> Tensor:
    return track(model, conditioned_session(model, references, frames=frames), target, frame=frame)


def repeated(features: VisionFeatures, times: int) -> dict[str, Tensor]:
    names = ("embedding", "stride4", "stride8")
    return {name: getattr(features, name).repeat(times, 1, 1, 1) for name in names}


# --- trap 5 --------------------------------------------------------------------------------------------------------


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


# --- trap 6 --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_trap_6_rounding_flips_gates_and_picks_and_a_flip_is_no_small_difference(
    model: Sam2, pictures: Pictures
) -> None:
    """Naive code compares by the largest difference, by which the strategy is broken.

    The rounding is of eight bits, which flips several picks on every kind of CPU; whether bf16 flips one is chance.
    """
    references = group(model, pictures, frames=range(4), present=[[True] * 5] * 4, seed=1)
    expected = masks_of(Sequential(model), references, pictures.targets)
    coarse = masks_of(Sequential(rounding(model)), references, pictures.targets)
    gates = (expected.object_scores > 0) != (coarse.object_scores > 0)
    picks = expected.picks != coarse.picks
    both_open = (expected.object_scores > 0) & (coarse.object_scores > 0)
    difference = (coarse.logits - expected.logits).abs().amax(dim=(2, 3))
    assert picks[both_open].any()
    assert difference[picks & both_open].min() > 3 * difference[~picks & both_open].max()
    assert (coarse.logits[coarse.object_scores <= 0] == -1024).all()

    meter = AgreementMeter()
    meter.update("group", expected, coarse)
    agreed = meter.result()
    assert agreed is not None
    assert (agreed.gate_flips, agreed.pick_flips) == (int(gates.sum()), int(picks.sum()))
    assert agreed.max_abs_dlogit == difference[both_open].max()
    alike = both_open & ~picks
    relative = difference[alike] / expected.logits.abs().amax(dim=(2, 3))[alike]
    assert agreed.differences.logits.largest == pytest.approx(float(relative.max()))


def rounding(model: Sam2) -> Sam2:
    """A copy that rounds what each linear layer makes to three bits of mantissa, on any CPU."""
    network = copy.deepcopy(model.network)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(lambda _module, _inputs, output: output.to(torch.float8_e4m3fn).float())
    return Sam2(network, name="toy")


# --- trap 7 --------------------------------------------------------------------------------------------------------


def test_trap_7_a_session_stores_memory_in_bf16_although_it_computes_in_fp32(model: Sam2, pictures: Pictures) -> None:
    references = two_references(model, pictures).first_objects(1)
    session = conditioned_session(model, references, frames=3)
    stored = session.hf.output_dict_per_obj[0]["cond_frame_outputs"][0]["maskmem_features"]
    assert stored.dtype == torch.bfloat16

    with model.computing():
        naive, _ = model.network.memory_encoder(
            references.features.embedding[:1], references.masks[:1].float() * 20.0 - 10.0
        )
        ours = build_memory_bank(model, references).memory[0, :TOKENS]
    naive = naive.flatten(2)[0].T
    assert (naive != stored[:, 0].float()).float().mean() > 0.9, "unrounded memory is another memory"
    assert torch.equal(ours, ours.to(torch.bfloat16).float())
    assert (ours != stored[:, 0].float()).float().mean() < 1e-3


# --- trap 8 --------------------------------------------------------------------------------------------------------


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


# --- trap 9 --------------------------------------------------------------------------------------------------------


def test_trap_9_the_feature_cache_evicts_the_first_reference(model: Sam2, pictures: Pictures) -> None:
    naive, ours = model.new_session(frames=3), model.new_session(frames=3)
    naive.hf = Sam2VideoInferenceSession(max_vision_features_cache_size=3)
    for frame in (0, 1, 2, 2, 2):  # two references, and three targets one after another in the last slot
        for session in (naive, ours):
            session.inject(frame, pictures.references[frame : frame + 1])
    assert [naive.hf.cache.get_vision_features(frame) is None for frame in range(3)] == [True, False, False]
    assert [ours.hf.cache.get_vision_features(frame) is None for frame in range(3)] == [False, False, False]


# --- trap 10 -------------------------------------------------------------------------------------------------------


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


# --- trap 11 -------------------------------------------------------------------------------------------------------


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


# --- trap 12 -------------------------------------------------------------------------------------------------------


@pytest.mark.processes
def test_trap_12_hfs_processors_want_torchvision_and_ours_does_without() -> None:
    if importlib.util.find_spec("torchvision") is None:
        with pytest.raises(ImportError, match=r"(?i)torchvision"):
            Sam2ImageProcessor()
    script = (
        "import sys; sys.modules['torchvision'] = None; import numpy as np; from strategies import load_model; "
        "model = load_model('toy'); picture = np.zeros((90, 50, 3), dtype=np.uint8); "
        "labels = np.ones((90, 50), dtype=np.uint8); model.references([picture], [labels]); model.encode([picture])"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True, timeout=300)


PROCESSORS: dict[str, tuple[str, type[Sam2], str, int]] = {
    "sam2": ("Sam2ImageProcessor", Sam2, "IMAGENET_DEFAULT", 1024),
    "sam3": ("Sam3ImageProcessor", Sam3Tracker, "IMAGENET_STANDARD", 1008),
}
"""By the package of transformers that has it: the class, the adapter, the statistics of pictures, and the side."""


@pytest.mark.parametrize("package", PROCESSORS)
def test_trap_12_our_preprocessing_is_what_the_processors_options_say(package: str) -> None:
    """Read from their source, because a class that wants torchvision can't be looked into without it."""
    name, adapter, statistics, side = PROCESSORS[package]
    options = processor_options(package, name)
    assert options["resample"] == "PILImageResampling.BILINEAR"
    assert options["size"] == f"{{'height': {side}, 'width': {side}}}", "a square, whatever the picture's shape"
    assert (options["do_resize"], options["do_rescale"], options["do_normalize"]) == ("True", "True", "True")
    assert (options["image_mean"], options["image_std"]) == (f"{statistics}_MEAN", f"{statistics}_STD")
    assert list(adapter.pixel_mean) == getattr(image_utils, f"{statistics}_MEAN")
    assert list(adapter.pixel_std) == getattr(image_utils, f"{statistics}_STD")


def test_trap_12_floating_point_all_the_way_is_half_a_level_off_and_without_antialias_it_is_ten() -> None:
    """`test_preprocessing.py` compares ours with the processor itself."""
    picture = np.random.default_rng(0).integers(0, 256, (300, 170, 3), dtype=np.uint8)
    mean, std = (torch.tensor(values)[:, None, None] for values in (Sam2.pixel_mean, Sam2.pixel_std))
    ours = (image_to_pixels(picture, side=128, mean=Sam2.pixel_mean, std=Sam2.pixel_std) * std + mean) * 255
    levels = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
    floating, naive = (
        F.interpolate(levels, size=(128, 128), mode="bilinear", antialias=antialias)[0] for antialias in (True, False)
    )
    assert 0.5 < (ours - floating).abs().max() < 1.5
    assert (ours - naive).abs().max() > 10


def processor_options(package: str, name: str) -> dict[str, str]:
    """Class attributes of a package's image processor, as its source spells them."""
    folder = Path(transformers_models.__path__[0], package)
    for path in sorted(folder.glob("image_processing_*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name.startswith(name):
                assigned = [line for line in node.body if isinstance(line, ast.Assign)]
                if assigned:
                    return {ast.unparse(line.targets[0]): ast.unparse(line.value) for line in assigned}
    raise AssertionError(f"no image processor in {folder}")
