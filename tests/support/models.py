"""Networks for tests, pictures and references to feed them, and what it means for masks to be the same.

A network has a toy's architecture and drawn weights, and is made *lively*: memory matters, object-score gates open
and close, every candidate mask wins somewhere, logits have both signs. On a network as initialised, every shortcut
would look exact. `tests/strategies/ladder` checks that it is lively.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from transformers import Sam2VideoModel

from harness.data.synthetic import synthetic_groups
from strategies import Direct, Predictions, References, Sam2, Strategy, VisionFeatures, load_model
from strategies.components.memory_bank import build_memory_bank
from strategies.models.sam2_family import VERSIONS, toy_config
from strategies.models.sam2_session import Sam2Session

SAM2_TOY, SAM3_TRACKER_TOY, EDGETAM_TOY = "toy", "sam3_tracker_toy", "edgetam_toy"
TWINS = (SAM3_TRACKER_TOY, EDGETAM_TOY)
"""The toys of the families beside SAM2."""
every_family = pytest.mark.parametrize("model", [SAM2_TOY, *TWINS], indirect=True)
"""A test whose `model`, and what is made with it, is that of each family in turn."""
of_whole_memories = pytest.mark.parametrize("model", [SAM2_TOY, SAM3_TRACKER_TOY], indirect=True)
"""Families that remember every token of a reference, rounded to bf16."""
other_families = pytest.mark.parametrize("model", TWINS, indirect=True)

MOST_REFERENCES = 17
MOST_TARGETS = 9
TOKENS = 64
"""Image tokens of one toy picture: chunk_tokens of n * TOKENS is n pairs at once."""

POINTER_GAIN = 5
"""Of lively networks, in how object pointers say when they were made."""

TOLERANCE = 1e-4
"""Of exact strategies in fp32, relative to the scale of the logits, and of the scores.

Seen: 1e-6, and up to 5e-5 where the bank has a rounding tie: memory is stored in bf16 (trap 7), and noise of 1e-7
between two ways to compute it takes one value in some 20,000 over the middle between two bf16 neighbours. Leaving the
rounding out costs 1e-3 to 2e-3.
"""


# --- lively networks ---------------------------------------------------------------------------------------------


@functools.cache
def lively(name: str) -> Sam2:
    """The lively network of a family's toy; one for all tests, which must not change it."""
    if name == SAM2_TOY:
        return lively_model()
    model = load_model(name)
    assert isinstance(model, Sam2)
    model.network.temporal_positional_encoding_projection_layer.weight.mul_(POINTER_GAIN)
    _centre_heads(model)
    return model


def copied(model: Sam2, *, device: str = "cpu") -> Sam2:
    """A network of one's own to change or to move."""
    return type(model)(copy.deepcopy(model.network), name=model.name, device=device)


def lively_model(seed: int = 1, *, version: str = "sam2.1") -> Sam2:
    """Seeded weights of unit gain, but more of it where masks enter memory, where memory leaves, and in pointers.

    The heads are centred on one group. version: a key of `VERSIONS`.
    """
    config = toy_config()
    config.update(VERSIONS[version])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Sam2VideoModel(config).eval().requires_grad_(False)
        for parameter in network.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
            else:
                parameter.add_(0.1 * torch.randn_like(parameter))
    network.memory_encoder.mask_downsampler.final_conv.weight.mul_(10)
    for layer in network.memory_attention.layers:
        layer.cross_attn_image.o_proj.weight.mul_(3)
    if config.enable_temporal_pos_encoding_for_object_pointers:
        network.temporal_positional_encoding_projection_layer.weight.mul_(POINTER_GAIN)
    model = Sam2(network, name="toy")
    _centre_heads(model)
    return model


def _centre_heads(model: Sam2) -> None:
    """Object scores half a deviation above 0, so that most gates are open; predicted IoUs alike for each candidate."""
    pictures = draw_pictures(model)
    references = group(model, pictures, frames=range(4), present=[[True] * 5] * 4)
    score_head, iou_head = (
        getattr(model.network.mask_decoder, name).proj_out for name in ("pred_obj_score_head", "iou_prediction_head")
    )
    with Direct(model) as strategy:
        strategy.prepare(references)
        with _outputs(score_head) as scores, _outputs(iou_head) as ious:
            strategy.predict(pictures.targets)
    deviation, mean = torch.std_mean(torch.cat(scores).flatten())
    score_head.bias.sub_(mean - deviation / 2)
    deviation, mean = torch.std_mean(torch.cat(ious).flatten(0, -2), dim=0)
    iou_head.weight.div_(deviation[:, None])
    iou_head.bias.sub_(mean).div_(deviation)


@contextmanager
def _outputs(module: nn.Module) -> Iterator[list[Tensor]]:
    outputs: list[Tensor] = []
    hook = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    yield outputs
    hook.remove()


# --- pictures and references -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Pictures:
    """Drawn pictures, encoded once: ``[17, ...]`` to serve as references and ``[9, ...]`` as targets."""

    pixels: Tensor
    references: VisionFeatures
    targets: VisionFeatures


def draw_pictures(model: Sam2) -> Pictures:
    drawn = synthetic_groups(
        count=1, references=MOST_REFERENCES, targets=MOST_TARGETS, objects=5, size=(model.side, model.side), seed=3
    )[0]
    frames = (*drawn.references, *drawn.targets)
    pixels = torch.stack([model.pixels(frame.image()) for frame in frames])
    features = model.encode_pixels(pixels)
    return Pictures(
        pixels=pixels[:MOST_REFERENCES], references=features[:MOST_REFERENCES], targets=features[MOST_REFERENCES:]
    )


drawn_once = functools.cache(draw_pictures)
"""The pictures of a network that lives as long as the tests."""


def group(
    model: Sam2,
    pictures: Pictures,
    *,
    frames: Sequence[int],
    present: Sequence[Sequence[bool]],
    object_ids: tuple[int, ...] | None = None,
    seed: int = 0,
) -> References:
    """References of the chosen pictures with drawn ellipses for masks; ``present`` is ``[R][O]``."""
    shown = torch.tensor(present)
    ids = object_ids or tuple(range(1, shown.shape[1] + 1))
    return References(
        features=pick(pictures.references, frames),
        masks=ellipses(seed, frames=len(frames), objects=len(ids), side=model.side) & shown[..., None, None],
        object_ids=ids,
        pixels=pictures.pixels[list(frames)],
    )


def small_group(model: Sam2, pictures: Pictures, *, seed: int = 0) -> References:
    """Two references, three objects whose ids are neither in order nor next to each other."""
    present = [[True, True, False], [True, False, True]]
    return group(model, pictures, frames=(seed, seed + 1), present=present, object_ids=(7, 3, 250), seed=seed)


def ellipses(seed: int, *, frames: int, objects: int, side: int) -> Tensor:
    """Bool ``[R, O, S, S]``: one ellipse a mask."""
    generator = torch.Generator().manual_seed(seed)
    centre_y, centre_x = (torch.rand(2, frames, objects, 1, 1, generator=generator) * 0.6 + 0.2).unbind()
    radius_y, radius_x = (torch.rand(2, frames, objects, 1, 1, generator=generator) * 0.2 + 0.05).unbind()
    axis = (torch.arange(side) + 0.5) / side
    return ((axis[:, None] - centre_y) / radius_y) ** 2 + ((axis - centre_x) / radius_x) ** 2 <= 1


def pick(features: VisionFeatures, frames: Sequence[int]) -> VisionFeatures:
    chosen = list(frames)
    return VisionFeatures(
        embedding=features.embedding[chosen], stride4=features.stride4[chosen], stride8=features.stride8[chosen]
    )


# --- predictions -------------------------------------------------------------------------------------------------


def masks_of(strategy: Strategy, references: References, targets: VisionFeatures, *, batch: int = 4) -> Predictions:
    """A group from preparation to release."""
    with strategy:
        strategy.prepare(references)
        starts = range(0, len(targets), batch)
        return Predictions.concatenate([strategy.predict(targets[start : start + batch]) for start in starts])


def assert_same_masks(actual: Predictions, expected: Predictions) -> None:
    """Equal up to float noise; gates and picks, which are discontinuous, exactly."""
    assert actual.object_ids == expected.object_ids
    assert actual.logits.shape == expected.logits.shape
    opened = expected.object_scores > 0
    assert torch.equal(actual.object_scores > 0, opened), "a gate flipped"
    assert torch.equal(actual.picks, expected.picks), "another candidate was picked"
    assert torch.equal(actual.logits[~opened], expected.logits[~opened])
    assert score_error(actual, expected) <= TOLERANCE
    assert logit_error(actual, expected) <= TOLERANCE


def score_error(actual: Predictions, expected: Predictions) -> float:
    """Largest difference, relative to the largest score, or to 1: the head's terms are larger than their sum."""
    scale = expected.object_scores.abs().max().clamp(min=1)
    return float((actual.object_scores - expected.object_scores).abs().max() / scale)


def logit_error(actual: Predictions, expected: Predictions) -> float:
    """Largest difference over pairs whose gate is open in both, relative to the largest logit of those."""
    opened = (expected.object_scores > 0) & (actual.object_scores > 0)
    if not opened.any():
        return 0.0
    scale = expected.logits[opened].abs().max()
    return float((actual.logits[opened] - expected.logits[opened]).abs().max() / scale)


def spatial_memories(model: Sam2, references: References) -> tuple[Tensor, Tensor]:
    """Spatial memory ``[O, R * memory tokens, 64]`` as `build_memory_bank` and as a session makes it."""
    with model.computing():
        bank = build_memory_bank(model, references)
    session = conditioned_session(model, references, frames=len(references) + 1)
    stored = [
        torch.cat([frame["maskmem_features"].flatten(0, 1) for frame in outputs["cond_frame_outputs"].values()]).float()
        for outputs in session.hf.output_dict_per_obj.values()
    ]
    return bank.memory[:, : -bank.pointer_tokens], torch.stack(stored)


# --- sessions, as a user of transformers would drive them ----------------------------------------------------------


def conditioned_session(model: Sam2, references: References, *, frames: int) -> Sam2Session:
    """A session of ``frames`` frames, conditioned correctly on the references (trap 1), its other slots empty."""
    session = model.new_session(frames=frames)
    with model.computing():
        for frame in range(len(references)):
            session.inject(frame, references.features[frame : frame + 1])
            add_masks(session, references, frame)
            session.hf.obj_with_new_inputs = list(references.object_ids)
            model.network(session.hf, frame_idx=frame)
    return session


def add_masks(session: Sam2Session, references: References, frame: int) -> None:
    for object_id, mask in zip(references.object_ids, references.masks[frame], strict=True):
        session.hf.add_mask_inputs(session.hf.obj_id_to_idx(object_id), frame, mask[None, None].float())


def track(model: Sam2, session: Sam2Session, target: VisionFeatures, *, frame: int) -> Tensor:
    """Logits ``[O, H, W]`` of one target put at frame index ``frame``; the session remembers it."""
    session.inject(frame, target)
    with model.computing():
        logits: Tensor = model.network(session.hf, frame_idx=frame).pred_masks[:, 0]
    return logits
