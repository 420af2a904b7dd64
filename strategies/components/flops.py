"""FLOPs of the prediction stage (memory attention and mask decoder), from a model's dimensions: nothing is run.

Convention: a multiply-add is 2 FLOPs. Matrix products, convolutions and attention's two products count; biases,
elementwise work, norms, softmax, rotary encoding and interpolation do not. This is the convention of torch's
`FlopCounterMode`, and the numbers equal its numbers exactly (tests/strategies/test_flops.py).

Letters: L image tokens (h*w), M memory tokens (of a bank made from R references), C the hidden size.
"model" is short for a model's dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from strategies.models.dimensions import Dimensions

NO_PROMPT_TOKENS = 2
"""Tokens of the prompt encoder without a prompt, for which it takes one empty point and its padding."""


@dataclass(frozen=True, kw_only=True)
class PredictionFlops:
    """The FLOPs of a prediction.

    per_target: those that are done once for a target, however many objects share it. per_pair: those of the rest, which
    are done for every (target, object) pair.
    """

    per_target: int
    per_pair: int


def session_flops(model: Dimensions, references: int) -> PredictionFlops:
    """Return the FLOPs of the HF session, which computes everything for every (target, object) pair.

    It projects the bank's keys and values anew, makes all candidate masks and the single mask, and makes an object
    pointer for the target; it also computes again what never changes: the position encodings of the image, of the
    references' pointers and of the missing prompt.
    """
    masks = model.mask_decoder.candidates + 1
    return PredictionFlops(
        per_target=0,
        per_pair=_memory_attention(model, references)
        + _mask_decoder(model, vectors=masks, masks=masks)
        + _pointer(model)
        + _repeated_constants(model, references),
    )


def per_pair_flops(model: Dimensions, references: int) -> PredictionFlops:
    """Return the FLOPs of `components.memory_attention.condition_per_pair` and of the decoder's `decode_best`."""
    return PredictionFlops(per_target=0, per_pair=_memory_attention(model, references) + _decode_best(model))


def shared_bank_flops(
    model: Dimensions, references: int, *, layers: int | None = None, read: int | None = None, ranked: int = 0
) -> PredictionFlops:
    """Return the FLOPs of `components.memory_attention.condition_shared` and of the decoder's `decode_best`.

    Keys and values belong to the bank, not to the prediction. Layer 0's self-attention and the projection of its
    cross-attention's queries know no object.

    layers: of memory attention, the first so many; read: the memory tokens that a query attends to; None for all.
    ranked: the memory tokens that each layer compares with the mean query before.
    """
    memories = memory_tokens(model, references) if read is None else read
    ranking = _linear(ranked, model.memory_attention.width, 1)
    return _projected_once(model, ranking + _cross_attention(model, memories), layers=layers)


def raw_values_flops(model: Dimensions, references: int) -> PredictionFlops:
    """Return the FLOPs of `kernels.memory_attention.FusedMemoryAttention` and of the decoder.

    That attention goes over raw memory instead of projected values.
    """
    return _projected_once(model, _raw_cross_attention(model, references))


def _projected_once(model: Dimensions, cross_attention: int, *, layers: int | None = None) -> PredictionFlops:
    """Return the FLOPs over a bank that is projected once.

    cross_attention: the FLOPs of one layer, from projected queries and keys on. layers: how many there are; None for
    the model's own.
    """
    layers = model.memory_attention.layers if layers is None else layers
    per_target = _self_attention(model) + _query_projection(model)
    per_layer = per_target + cross_attention + _feed_forward(model)
    return PredictionFlops(per_target=per_target, per_pair=layers * per_layer - per_target + _decode_best(model))


def memory_tokens(model: Dimensions, references: int) -> int:
    """Return M: the tokens of the spatial memories that a target's session sees, and of all references' pointers."""
    return spatial_tokens(model, references) + references * model.pointer_tokens


def spatial_tokens(model: Dimensions, references: int) -> int:
    """Return the tokens of the spatial memories that a target's session sees.

    With more references than a target is conditioned on, the session keeps that many closest ones, and of the others
    those that are near enough to be recent memories (DESIGN section 3, trap 5).
    """
    limit = model.conditioning_frames
    frames = references if limit is None else min(references, max(limit, model.recent_memories))
    return frames * model.memory_tokens


# --- memory attention --------------------------------------------------------------------------------------------


def _memory_attention(model: Dimensions, references: int) -> int:
    """Return the FLOPs of the network's own module, in which each layer projects the bank's keys and values."""
    projected = 2 * _linear(memory_tokens(model, references), model.memory_width, model.memory_attention.width)
    per_layer = (
        _self_attention(model)
        + _query_projection(model)
        + projected
        + _cross_attention(model, memory_tokens(model, references))
        + _feed_forward(model)
    )
    return model.memory_attention.layers * per_layer


def _self_attention(model: Dimensions) -> int:
    tokens, attention = model.image_tokens, model.memory_attention
    return 4 * _linear(tokens, attention.hidden, attention.width) + _attention(tokens, tokens, attention.width)


def _query_projection(model: Dimensions) -> int:
    return _linear(model.image_tokens, model.memory_attention.hidden, model.memory_attention.width)


def _cross_attention(model: Dimensions, memories: int) -> int:
    """Return the FLOPs from projected queries, keys and values on: attention and the output's projection."""
    tokens, attention = model.image_tokens, model.memory_attention
    output = _linear(tokens, attention.width, attention.hidden)
    return _attention(tokens, memories, attention.width) + output


def _raw_cross_attention(model: Dimensions, references: int) -> int:
    """Return the FLOPs from projected queries and keys on.

    They are those of scores, weighted raw memory, and the product that makes the output.
    """
    tokens, memories = model.image_tokens, memory_tokens(model, references)
    scores = _linear(tokens, model.memory_attention.width, memories)
    weighted = _linear(tokens, memories, model.memory_width)
    return scores + weighted + _linear(tokens, model.memory_width, model.memory_attention.hidden)


def _feed_forward(model: Dimensions) -> int:
    hidden = model.memory_attention.hidden
    return _linear(model.image_tokens, hidden, model.memory_attention.feed_forward, hidden)


# --- mask decoder ------------------------------------------------------------------------------------------------


def _decode_best(model: Dimensions) -> int:
    """Return the FLOPs of `components.two_way.TwoWay`, the mask vectors of all candidates and the mask of one."""
    vectors = model.mask_decoder.candidates
    return _two_way_in_blocks(model) + _heads_and_masks(model, vectors=vectors, masks=1)


def _mask_decoder(model: Dimensions, *, vectors: int, masks: int) -> int:
    """Return the FLOPs of the network's own module."""
    return _two_way_transformer(model) + _heads_and_masks(model, vectors=vectors, masks=masks)


def _heads_and_masks(model: Dimensions, *, vectors: int, masks: int) -> int:
    """Return the FLOPs of the heads, ``vectors`` hypernetworks, the upscaled image and its product for ``masks``."""
    decoder, image = model.mask_decoder, model.image_tokens
    hidden, mask_tokens = decoder.hidden, decoder.candidates + 1
    iou_head = [hidden, *[decoder.iou_head_hidden] * (decoder.iou_head_depth - 1), mask_tokens]
    object_score_head = [hidden, hidden, hidden, 1]
    hypernetwork = [hidden, hidden, hidden, hidden // 8]
    return (
        _linear(1, *iou_head)
        + _linear(1, *object_score_head)
        + vectors * _linear(1, *hypernetwork)
        + _upscaling(image, hidden)
        + _linear(16 * image, hidden // 8, masks)
    )


def _two_way_transformer(model: Dimensions) -> int:
    decoder, image = model.mask_decoder, model.image_tokens
    tokens = 2 + decoder.candidates + 1 + NO_PROMPT_TOKENS  # object score, IoU, masks, prompt
    hidden, width = decoder.hidden, decoder.width
    block = (
        4 * _linear(tokens, hidden, hidden)
        + _attention(tokens, tokens, hidden)
        + 2 * _across(tokens, image, hidden, width)  # tokens to image and image to tokens cost the same
        + _linear(tokens, hidden, *[decoder.mlp] * (decoder.layers - 1), hidden)
    )
    return decoder.layers * block + _across(tokens, image, hidden, width)


def _two_way_in_blocks(model: Dimensions) -> int:
    """Return the FLOPs of `_two_way_transformer` as `components.two_way.TwoWay` does its work.

    The first layer's constants do not count, and the images' attention to the tokens is taken as plain products.
    """
    decoder, image = model.mask_decoder, model.image_tokens
    tokens = 2 + decoder.candidates + 1 + NO_PROMPT_TOKENS
    hidden, width = decoder.hidden, decoder.width
    constants = (
        4 * _linear(tokens, hidden, hidden) + _attention(tokens, tokens, hidden) + _linear(tokens, hidden, width)
    )
    spread = decoder.heads * tokens
    usual = _attention(tokens, image, width) + _linear(image, width, hidden)
    in_blocks = _linear(image, width, spread, hidden) + _linear(tokens, width, hidden)
    return _two_way_transformer(model) - constants + decoder.layers * (in_blocks - usual)


def _across(tokens: int, image: int, hidden: int, width: int) -> int:
    """Return the FLOPs of attention between tokens and image.

    One side gives queries and takes the output, the other gives keys and values.
    """
    return 2 * _linear(tokens, hidden, width) + 2 * _linear(image, hidden, width) + _attention(tokens, image, width)


def _upscaling(image: int, hidden: int) -> int:
    """Return the FLOPs of two transposed convolutions, of kernel and stride 2, to 1/4 and 1/8 of the channels."""
    return _linear(image, hidden, 4 * (hidden // 4)) + _linear(4 * image, hidden // 4, 4 * (hidden // 8))


# --- what only the session does ----------------------------------------------------------------------------------


def _pointer(model: Dimensions) -> int:
    hidden = model.hidden
    return _linear(1, hidden, hidden, hidden, hidden)


def _repeated_constants(model: Dimensions, references: int) -> int:
    """Return the FLOPs of position encodings.

    Those of the image and of the empty prompt are made from 2 coordinates each, those of pointers from their sine
    encoding.
    """
    positions = _linear(model.prompt_tokens + NO_PROMPT_TOKENS, 2, model.prompt_width)
    if not model.pointers_depend_on_time:
        return positions
    return positions + _linear(references, model.hidden, model.memory_width)


# --- the counted operations --------------------------------------------------------------------------------------


def _linear(rows: int, *widths: int) -> int:
    """Return the FLOPs of ``rows`` tokens through matrices from each width to the next."""
    return sum(2 * rows * before * after for before, after in pairwise(widths))


def _attention(queries: int, keys: int, width: int) -> int:
    """Return the FLOPs of scores and weighted values; heads split the width and change nothing."""
    return 4 * queries * keys * width
