"""FLOPs of the prediction stage (memory attention and mask decoder), from a model's dimensions: nothing is run.

Convention: a multiply-add is 2 FLOPs. Matrix products, convolutions and attention's two products count; biases,
elementwise work, norms, softmax, rotary encoding and interpolation do not. This is the convention of torch's
`FlopCounterMode`, and the numbers equal its numbers exactly (tests/test_flops.py).

Letters: L image tokens (h*w), M memory tokens (of a bank made from R references), C the hidden size.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

Config = Any
"""A `Sam2VideoConfig`; transformers carries no types."""

NO_PROMPT_TOKENS = 2
"""The prompt encoder's answer to "no prompt": one empty point and its padding."""

MEMORY_WIDTH = 64
"""Input width of memory attention's keys and values, fixed in the network's own code."""


@dataclass(frozen=True, kw_only=True)
class PredictionFlops:
    """per_target: of the work that is done once for a target, however many objects share it; per_pair: of the rest."""

    per_target: int
    per_pair: int


def session_flops(config: Config, references: int) -> PredictionFlops:
    """As the HF session computes it: everything for every (target, object) pair.

    It projects the bank's keys and values anew, makes all candidate masks and the single mask, and makes an object
    pointer for the target; it also computes again what never changes: the position encodings of the image, of the
    references' pointers and of the missing prompt.
    """
    masks = config.mask_decoder_config.num_multimask_outputs + 1
    return PredictionFlops(
        per_target=0,
        per_pair=_memory_attention(config, references)
        + _mask_decoder(config, vectors=masks, masks=masks)
        + _pointer(config)
        + _repeated_constants(config, references),
    )


def per_pair_flops(config: Config, references: int) -> PredictionFlops:
    """`components.memory_attention.condition_per_pair` and `components.mask_decoder.decode_best`."""
    return PredictionFlops(per_target=0, per_pair=_memory_attention(config, references) + _decode_best(config))


def shared_bank_flops(config: Config, references: int) -> PredictionFlops:
    """`components.memory_attention.condition_shared` and `components.mask_decoder.decode_best`.

    Keys and values belong to the bank, not to the prediction. Layer 0's self-attention and the projection of its
    cross-attention's queries know no object.
    """
    return _projected_once(config, _cross_attention(config, references))


def raw_values_flops(config: Config, references: int) -> PredictionFlops:
    """As `shared_bank_flops`, attending over the raw memory: `kernels.memory_attention.FusedMemoryAttention`."""
    return _projected_once(config, _raw_cross_attention(config, references))


def _projected_once(config: Config, cross_attention: int) -> PredictionFlops:
    """cross_attention: of one layer, from projected queries and keys on."""
    layers = config.memory_attention_num_layers
    per_target = _self_attention(config) + _query_projection(config)
    per_layer = per_target + cross_attention + _feed_forward(config)
    return PredictionFlops(per_target=per_target, per_pair=layers * per_layer - per_target + _decode_best(config))


def memory_tokens(config: Config, references: int) -> int:
    """M: the spatial memories that a target's session sees, and the pointers of all references.

    With more references than `max_cond_frame_num` (-1 is no limit) the session keeps that many closest ones, and of
    the others those that are at most ``num_maskmem - 1`` frames away (DESIGN section 3, trap 5).
    """
    limit = config.max_cond_frame_num
    frames = references if limit == -1 else min(references, max(limit, config.num_maskmem - 1))
    pointers = references if config.max_object_pointers_in_encoder > 0 else 0
    hidden, width = config.vision_config.fpn_hidden_size, config.memory_encoder_output_channels
    return frames * _image_tokens(config) + pointers * max(1, hidden // width)


# --- memory attention --------------------------------------------------------------------------------------------


def _memory_attention(config: Config, references: int) -> int:
    """The network's own module: each layer projects the bank's keys and values."""
    projected = 2 * _linear(memory_tokens(config, references), MEMORY_WIDTH, _attention_width(config))
    per_layer = (
        _self_attention(config)
        + _query_projection(config)
        + projected
        + _cross_attention(config, references)
        + _feed_forward(config)
    )
    return config.memory_attention_num_layers * per_layer


def _self_attention(config: Config) -> int:
    tokens, hidden, width = _image_tokens(config), config.memory_attention_hidden_size, _attention_width(config)
    return 4 * _linear(tokens, hidden, width) + _attention(tokens, tokens, width)


def _query_projection(config: Config) -> int:
    return _linear(_image_tokens(config), config.memory_attention_hidden_size, _attention_width(config))


def _cross_attention(config: Config, references: int) -> int:
    """From projected queries, keys and values: attention and the output's projection."""
    tokens, width = _image_tokens(config), _attention_width(config)
    output = _linear(tokens, width, config.memory_attention_hidden_size)
    return _attention(tokens, memory_tokens(config, references), width) + output


def _raw_cross_attention(config: Config, references: int) -> int:
    """From projected queries and keys: scores, weighted raw memory, and the product that takes it to the output."""
    tokens, memories = _image_tokens(config), memory_tokens(config, references)
    scores = _linear(tokens, _attention_width(config), memories)
    weighted = _linear(tokens, memories, MEMORY_WIDTH)
    return scores + weighted + _linear(tokens, MEMORY_WIDTH, config.memory_attention_hidden_size)


def _feed_forward(config: Config) -> int:
    hidden = config.memory_attention_hidden_size
    return _linear(_image_tokens(config), hidden, config.memory_attention_feed_forward_hidden_size, hidden)


def _attention_width(config: Config) -> int:
    """Of all heads together."""
    width: int = config.memory_attention_hidden_size // config.memory_attention_downsample_rate
    return width


# --- mask decoder ------------------------------------------------------------------------------------------------


def _decode_best(config: Config) -> int:
    """`components.two_way.TwoWay`, mask vectors of all candidates, the mask of one."""
    vectors = config.mask_decoder_config.num_multimask_outputs
    return _two_way_in_blocks(config) + _heads_and_masks(config, vectors=vectors, masks=1)


def _mask_decoder(config: Config, *, vectors: int, masks: int) -> int:
    """The network's own module."""
    return _two_way_transformer(config) + _heads_and_masks(config, vectors=vectors, masks=masks)


def _heads_and_masks(config: Config, *, vectors: int, masks: int) -> int:
    """The heads, ``vectors`` hypernetworks, the upscaled image and its product for ``masks``."""
    decoder, image = config.mask_decoder_config, _image_tokens(config)
    hidden, mask_tokens = decoder.hidden_size, decoder.num_multimask_outputs + 1
    iou_head = [hidden, *[decoder.iou_head_hidden_dim] * (decoder.iou_head_depth - 1), mask_tokens]
    object_score_head = [hidden, hidden, hidden, 1]
    hypernetwork = [hidden, hidden, hidden, hidden // 8]
    return (
        _linear(1, *iou_head)
        + _linear(1, *object_score_head)
        + vectors * _linear(1, *hypernetwork)
        + _upscaling(image, hidden)
        + _linear(16 * image, hidden // 8, masks)
    )


def _two_way_transformer(config: Config) -> int:
    decoder, image = config.mask_decoder_config, _image_tokens(config)
    tokens = 2 + decoder.num_multimask_outputs + 1 + NO_PROMPT_TOKENS  # object score, IoU, masks, prompt
    hidden, width = decoder.hidden_size, decoder.hidden_size // decoder.attention_downsample_rate
    block = (
        4 * _linear(tokens, hidden, hidden)
        + _attention(tokens, tokens, hidden)
        + 2 * _across(tokens, image, hidden, width)  # tokens to image and image to tokens cost the same
        + _linear(tokens, hidden, *[decoder.mlp_dim] * (decoder.num_hidden_layers - 1), hidden)
    )
    return decoder.num_hidden_layers * block + _across(tokens, image, hidden, width)


def _two_way_in_blocks(config: Config) -> int:
    """As `_two_way_transformer`, but for the first layer's constants and the images' attention to the tokens."""
    decoder, image = config.mask_decoder_config, _image_tokens(config)
    tokens = 2 + decoder.num_multimask_outputs + 1 + NO_PROMPT_TOKENS
    hidden, width = decoder.hidden_size, decoder.hidden_size // decoder.attention_downsample_rate
    constants = (
        4 * _linear(tokens, hidden, hidden) + _attention(tokens, tokens, hidden) + _linear(tokens, hidden, width)
    )
    spread = decoder.num_attention_heads * tokens
    usual = _attention(tokens, image, width) + _linear(image, width, hidden)
    in_blocks = _linear(image, width, spread, hidden) + _linear(tokens, width, hidden)
    return _two_way_transformer(config) - constants + decoder.num_hidden_layers * (in_blocks - usual)


def _across(tokens: int, image: int, hidden: int, width: int) -> int:
    """Attention of tokens to the image or back: queries and output of one side, keys and values of the other."""
    return 2 * _linear(tokens, hidden, width) + 2 * _linear(image, hidden, width) + _attention(tokens, image, width)


def _upscaling(image: int, hidden: int) -> int:
    """Two transposed convolutions, kernel and stride 2, to a quarter and an eighth of the channels."""
    return _linear(image, hidden, 4 * (hidden // 4)) + _linear(4 * image, hidden // 4, 4 * (hidden // 8))


# --- what only the session does ----------------------------------------------------------------------------------


def _pointer(config: Config) -> int:
    hidden = config.vision_config.fpn_hidden_size
    return _linear(1, hidden, hidden, hidden, hidden)


def _repeated_constants(config: Config, references: int) -> int:
    """Positions of image and empty prompt, from 2 coordinates each; of pointers, from their sine encoding."""
    prompt = config.prompt_encoder_config
    image = (prompt.image_size // prompt.patch_size) ** 2
    positions = _linear(image + NO_PROMPT_TOKENS, 2, prompt.hidden_size // 2)
    if not config.enable_temporal_pos_encoding_for_object_pointers:
        return positions
    return positions + _linear(references, config.vision_config.fpn_hidden_size, config.memory_encoder_output_channels)


# --- the counted operations --------------------------------------------------------------------------------------


def _linear(rows: int, *widths: int) -> int:
    """``rows`` tokens through matrices from each width to the next."""
    return sum(2 * rows * before * after for before, after in pairwise(widths))


def _attention(queries: int, keys: int, width: int) -> int:
    """Scores and weighted values; heads split the width and change nothing."""
    return 4 * queries * keys * width


def _image_tokens(config: Config) -> int:
    height, width = config.vision_config.backbone_feature_sizes[-1]
    tokens: int = height * width
    return tokens
