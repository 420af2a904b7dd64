"""The mask decoder's two-way transformer for many (target, object) pairs without prompts.

The same arithmetic as the network's module, in fewer and larger steps:

- until its tokens first look at an image they are constants of the model, and made once;
- what a layer needs of an image, keys and values for the tokens and queries to them, is one product, and what positions
  add to it is a constant too;
- the image's attention to the handful of tokens is two plain products for all heads (`_attend_few`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from strategies.components.memory_attention import HFModule
    from strategies.models.sam2 import Sam2


@dataclass(frozen=True, kw_only=True)
class ImageSide:
    """A layer's projections of an image, ``[P, C]``, and what positions and biases add to them, ``[L, P]``."""

    weight: Tensor
    offset: Tensor

    def __call__(self, image: Tensor) -> Tensor:
        """``[N, L, P]`` of images ``[N, L, C]``."""
        return F.linear(image, self.weight).add_(self.offset)


class TwoWay:
    """The transformer of one model's decoder; its weights are read once, here."""

    def __init__(self, model: Sam2) -> None:
        decoder = model.network.mask_decoder
        self._network = decoder.transformer
        output_tokens = [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
        with torch.inference_mode():
            self._tokens = torch.cat([*output_tokens, model.no_prompt_tokens[0, 0]])[None]  # [1, Q, C]
            position = model.image_position.flatten(2)[0].T  # [L, C]
            self._sides = tuple(
                _image_side(
                    position,
                    keys=layer.cross_attn_token_to_image.k_proj,
                    values=layer.cross_attn_token_to_image.v_proj,
                    queries=layer.cross_attn_image_to_token.q_proj,
                )
                for layer in self._network.layers
            )
            last = self._network.final_attn_token_to_image
            self._last_side = _image_side(position, keys=last.k_proj, values=last.v_proj)
            first = self._network.layers[0]
            self._before = self._among_themselves(first, self._tokens)
            self._first_look = first.cross_attn_token_to_image.q_proj(self._before + self._tokens)

    def __call__(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens ``[N, Q, C]`` and images ``[N, L, C]`` after it, of images ``[N, L, C]``, dense prompt added."""
        tokens = self._before
        for layer, side in zip(self._network.layers, self._sides, strict=True):
            look, answer = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
            if layer.skip_first_layer_pe:  # the first
                looking = self._first_look.expand(len(image), -1, -1)
            else:
                tokens = self._among_themselves(layer, tokens)
                looking = look.q_proj(tokens + self._tokens)
            keys, values, queries = side(image).chunk(3, dim=-1)
            tokens = layer.layer_norm2(tokens + _attend(look, looking, keys, values))
            tokens = layer.layer_norm3(tokens + layer.mlp(tokens))
            told = _attend_few(answer, queries, answer.k_proj(tokens + self._tokens), answer.v_proj(tokens))
            image = layer.layer_norm4(image + told)
        keys, values = self._last_side(image).chunk(2, dim=-1)
        look = self._network.final_attn_token_to_image
        seen = _attend(look, look.q_proj(tokens + self._tokens), keys, values)
        return self._network.layer_norm_final_attn(tokens + seen), image

    def _among_themselves(self, layer: HFModule, tokens: Tensor) -> Tensor:
        """Self-attention and norm of the tokens; the first layer knows no positions and has no residual."""
        attention, first = layer.self_attn, layer.skip_first_layer_pe
        placed = tokens if first else tokens + self._tokens
        out = _attend(attention, attention.q_proj(placed), attention.k_proj(placed), attention.v_proj(tokens))
        return layer.layer_norm1(out if first else tokens + out)


def _image_side(position: Tensor, *, keys: HFModule, values: HFModule, queries: HFModule | None = None) -> ImageSide:
    """Keys and queries are projected with their position, values without."""
    modules = [keys, values] if queries is None else [keys, values, queries]
    offsets = [
        module.bias.expand(len(position), -1) if module is values else F.linear(position, module.weight, module.bias)
        for module in modules
    ]
    return ImageSide(weight=torch.cat([module.weight for module in modules]), offset=torch.cat(offsets, dim=-1))


def _attend(attention: HFModule, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """``[N, Lq, C]`` of projected ``[N, Lq, d]``, ``[N, Lk, d]`` and ``[N, Lk, d]``."""
    heads = (attention.num_attention_heads, -1)
    query, key, value = (part.unflatten(-1, heads).transpose(1, 2) for part in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return attention.o_proj(out.transpose(1, 2).flatten(2))


def _attend_few(attention: HFModule, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """As `_attend`, for many queries of a handful of keys, at which attention kernels are slow.

    Keys stand in blocks, one for each head, between zeros, so that one product gives the scores of all heads. The
    output's product is taken of the values, which are few, instead of the queries.
    """
    heads = attention.num_attention_heads
    blocks = torch.eye(heads, dtype=key.dtype, device=key.device)[:, :, None, None]
    rows = key.unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, H, Lk, d]
    spread = (rows.unsqueeze(2) * (attention.scaling * blocks)).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
    scores = (spread @ query.mT).unflatten(1, (heads, -1))  # [N, H, Lk, Lq]: a softmax along short rows would be slow
    shares = scores.softmax(dim=2).flatten(1, 2).mT
    weight = attention.o_proj.weight.unflatten(1, (heads, -1)).permute(1, 2, 0)  # [H, d, C]
    of_heads = value.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3)  # [H, N, Lk, d]
    values = (of_heads.flatten(1, 2) @ weight).unflatten(1, of_heads.shape[1:3])  # [H, N, Lk, C]
    return shares @ values.transpose(0, 1).flatten(1, 2) + attention.o_proj.bias
