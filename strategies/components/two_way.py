"""The mask decoder's two-way transformer for many (target, object) pairs without prompts.

It does the same arithmetic as the network's module (`Sam2VideoTwoWayTransformer` of transformers, whose names are kept:
queries are the tokens, keys the image), in fewer and larger steps:

- until its queries first attend to an image they are constants of the model, and made once;
- what a layer needs of an image, keys and values for the tokens and queries to them, is one product, and what positions
  add to it is a constant too;
- the image's attention to the handful of tokens is two plain products for all heads (`_attend_few`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from strategies.models.modules import Attention, MaskDecoder, TwoWayLayer
from strategies.models.precision import DTYPES
from strategies.models.tracker import Tracker


@dataclass(frozen=True, kw_only=True)
class ImageProjection:
    """A layer's projections of an image, ``[P, C]`` in the model's dtype, and what positions and biases add to them.

    offset: fp32 ``[L, P]``.
    """

    weight: Tensor
    offset: Tensor

    def __call__(self, image: Tensor) -> Tensor:
        """Project images ``[N, L, C]`` to ``[N, L, P]``."""
        return F.linear(image, self.weight).add_(self.offset)


@dataclass(frozen=True, kw_only=True)
class ImageOutput:
    """The product that ends the image's attention: weight ``[H, d, C]`` in the model's dtype, bias fp32 ``[C]``.

    The bias is fp32 because it is added outside of a product, where autocast would not narrow it.
    """

    weight: Tensor
    bias: Tensor


class TwoWay:
    """The transformer of one model's decoder; its weights are read once, here.

    What is constant is computed of the fp32 weights; what depends on an image, of their casts to the model's dtype.
    """

    def __init__(self, model: Tracker) -> None:
        self._transformer = model.mask_decoder.transformer
        dtype = DTYPES[model.dtype]
        full = model.in_dtype("fp32").mask_decoder.transformer
        with torch.inference_mode():
            tokens = torch.cat([output_tokens(model.mask_decoder), model.no_prompt_tokens[0, 0]])
            self._query_point_embedding = tokens[None]  # [1, Q, C]
            position = model.image_position.flatten(2)[0].T  # [L, C]
            self._projections = tuple(
                _image_projection(
                    position,
                    keys=layer.cross_attn_token_to_image.k_proj,
                    values=layer.cross_attn_token_to_image.v_proj,
                    queries=layer.cross_attn_image_to_token.q_proj,
                    dtype=dtype,
                )
                for layer in full.layers
            )
            self._image_outputs = tuple(_image_output(layer.cross_attn_image_to_token, dtype) for layer in full.layers)
            final = full.final_attn_token_to_image
            self._final_projection = _image_projection(position, keys=final.k_proj, values=final.v_proj, dtype=dtype)
            first = full.layers[0]
            self._first_queries = self._self_attention(first, self._query_point_embedding)
            self._first_query = first.cross_attn_token_to_image.q_proj(
                self._first_queries + self._query_point_embedding
            )

    def __call__(self, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens ``[N, Q, C]`` and images ``[N, L, C]`` as the transformer leaves them.

        keys: the images ``[N, L, C]`` that go in, dense prompt added.
        """
        queries, query_point_embedding = self._first_queries, self._query_point_embedding
        layers = zip(self._transformer.layers, self._projections, self._image_outputs, strict=True)
        for layer, projection, image_output in layers:
            token_to_image, image_to_token = layer.cross_attn_token_to_image, layer.cross_attn_image_to_token
            if layer.skip_first_layer_pe:  # the first
                query = self._first_query.expand(len(keys), -1, -1)
            else:
                queries = self._self_attention(layer, queries)
                query = token_to_image.q_proj(queries + query_point_embedding)
            key, value, image_query = projection(keys).chunk(3, dim=-1)
            attn_out = _attend(token_to_image, query, key, value)
            queries = layer.layer_norm2(queries + attn_out)
            queries = layer.layer_norm3(queries + layer.mlp(queries))
            token_key = image_to_token.k_proj(queries + query_point_embedding)
            token_value = image_to_token.v_proj(queries)
            attn_out = _attend_few(image_to_token.scaling, image_query, token_key, token_value, image_output)
            keys = layer.layer_norm4(keys + attn_out)
        token_to_image = self._transformer.final_attn_token_to_image
        key, value = self._final_projection(keys).chunk(2, dim=-1)
        attn_out = _attend(token_to_image, token_to_image.q_proj(queries + query_point_embedding), key, value)
        return self._transformer.layer_norm_final_attn(queries + attn_out), keys

    def _self_attention(self, layer: TwoWayLayer, queries: Tensor) -> Tensor:
        """Apply the tokens' self-attention and its norm; the first layer knows no positions and has no residual."""
        attention, first = layer.self_attn, layer.skip_first_layer_pe
        query = queries if first else queries + self._query_point_embedding
        attn_out = _attend(attention, attention.q_proj(query), attention.k_proj(query), attention.v_proj(queries))
        return layer.layer_norm1(attn_out if first else queries + attn_out)


def output_tokens(decoder: MaskDecoder) -> Tensor:
    """Return the tokens that the heads read: object score, IoUs, single mask and candidates, ``[2 + masks, C]``."""
    return torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])


def _image_projection(
    position: Tensor, *, keys: nn.Linear, values: nn.Linear, queries: nn.Linear | None = None, dtype: torch.dtype
) -> ImageProjection:
    """Join the projections into one: keys and queries are projected with their position, values without."""
    modules = [keys, values] if queries is None else [keys, values, queries]
    offsets = [
        module.bias.expand(len(position), -1) if module is values else F.linear(position, module.weight, module.bias)
        for module in modules
    ]
    weight = torch.cat([module.weight for module in modules]).to(dtype)
    return ImageProjection(weight=weight, offset=torch.cat(offsets, dim=-1))


def _image_output(attention: Attention, dtype: torch.dtype) -> ImageOutput:
    weight = attention.o_proj.weight.to(dtype).unflatten(1, (attention.num_attention_heads, -1)).permute(1, 2, 0)
    return ImageOutput(weight=weight, bias=attention.o_proj.bias)


def _attend(attention: Attention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return attention's output ``[N, Lq, C]`` of projected ``[N, Lq, d]``, ``[N, Lk, d]`` and ``[N, Lk, d]``."""
    heads = (attention.num_attention_heads, -1)
    query, key, value = (part.unflatten(-1, heads).transpose(1, 2) for part in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling)
    return attention.o_proj(out.transpose(1, 2).flatten(2))


def _attend_few(scaling: float, query: Tensor, key: Tensor, value: Tensor, output: ImageOutput) -> Tensor:
    """Attend as `_attend` does, for many queries of a handful of keys, at which attention kernels are slow.

    Keys stand in blocks, one for each head, between zeros, so that one product gives the scores of all heads. The
    output's product is taken of the values, which are few, instead of the queries.
    """
    heads = len(output.weight)
    blocks = torch.eye(heads, dtype=key.dtype, device=key.device)[:, :, None, None]
    rows = key.unflatten(-1, (heads, -1)).transpose(1, 2)  # [N, H, Lk, d]
    spread = (rows.unsqueeze(2) * (scaling * blocks)).permute(0, 1, 3, 2, 4).flatten(3).flatten(1, 2)
    scores = (spread @ query.mT).unflatten(1, (heads, -1))  # [N, H, Lk, Lq]: a softmax along short rows would be slow
    shares = scores.softmax(dim=2).flatten(1, 2).mT
    of_heads = value.unflatten(-1, (heads, -1)).permute(2, 0, 1, 3)  # [H, N, Lk, d]
    values = (of_heads.flatten(1, 2) @ output.weight).unflatten(1, of_heads.shape[1:3])  # [H, N, Lk, C]
    return shares @ values.transpose(0, 1).flatten(1, 2) + output.bias
