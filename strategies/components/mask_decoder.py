"""The SAM2 mask decoder in batches of (target, object) pairs, computing one candidate mask instead of four.

The session upsamples every candidate to full resolution and keeps one; the choice needs only the predicted IoUs, so
the best candidate is picked first and only its mask is made (DESIGN section 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from strategies.vocabulary import VisionFeatures

if TYPE_CHECKING:
    from strategies.models.sam2 import Sam2

NO_OBJECT_LOGIT = -1024.0
"""Logit of every pixel behind a closed object-score gate, as in the original model."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The decoder's candidate masks of N pairs, before any mask is made.

    mask_tokens: ``[N, K, C]``; ious: ``[N, K]``, predicted; object_scores: ``[N]``; image: ``[N, C, h, w]``, the image
    side of the two-way transformer; picks: ``[N]``, the candidate with the best predicted IoU.
    """

    mask_tokens: Tensor
    ious: Tensor
    object_scores: Tensor
    image: Tensor
    picks: Tensor

    def best(self, per_candidate: Tensor) -> Tensor:
        """``[N, ...]``: each pair's picked entry of ``per_candidate`` ``[N, K, ...]``."""
        return per_candidate[torch.arange(len(self.picks), device=self.picks.device), self.picks]


def decode_candidates(model: Sam2, embedding: Tensor, sparse: Tensor) -> Candidates:
    """Two-way transformer and heads for image embeddings ``[N, C, h, w]`` (dense prompt already added)."""
    decoder = model.network.mask_decoder
    count = embedding.shape[0]
    output_tokens = torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([output_tokens.expand(count, 1, -1, -1), sparse], dim=2)
    tokens_out, image = decoder.transformer(
        point_embeddings=tokens,
        image_embeddings=embedding,
        image_positional_embeddings=model.image_position.expand(count, -1, -1, -1),
        attention_similarity=None,
    )
    # Token 0 is the object score, 1 the IoU, 2 the single mask; the candidates of multimask output follow.
    candidates = slice(3, 2 + decoder.num_mask_tokens)
    ious = decoder.iou_prediction_head(tokens_out[:, 0, 1])[:, 1:]
    return Candidates(
        mask_tokens=tokens_out[:, 0, candidates],
        ious=ious,
        object_scores=decoder.pred_obj_score_head(tokens_out[:, 0, 0]).squeeze(-1),
        image=image.squeeze(1).transpose(1, 2).unflatten(2, embedding.shape[-2:]),
        picks=ious.argmax(dim=-1),
    )


def upscale(model: Sam2, image: Tensor, features: VisionFeatures, *, objects: int) -> Tensor:
    """``[O, T, C/8, H*W]``: the image side of O*T pairs (object-major) at stride 4, skip connections added."""
    decoder = model.network.mask_decoder
    pairs = (objects, -1)
    x = decoder.upscale_conv1(image).unflatten(0, pairs) + features.stride8
    x = decoder.activation(decoder.upscale_layer_norm(x.flatten(0, 1)))
    x = decoder.upscale_conv2(x).unflatten(0, pairs) + features.stride4
    return decoder.activation(x).flatten(3)


def hypernetworks(model: Sam2, mask_tokens: Tensor) -> Tensor:
    """``[N, K, C/8]``: each candidate's mask vector from its token."""
    mlps = model.network.mask_decoder.output_hypernetworks_mlps[1:]
    return torch.stack([mlp(mask_tokens[:, index]) for index, mlp in enumerate(mlps)], dim=1)


def decode_best(
    model: Sam2, conditioned: Tensor, features: VisionFeatures, *, objects: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits ``[T, O, H, W]``, object scores ``[T, O]`` and picks ``[T, O]`` of O*T pairs.

    conditioned: ``[O*T, C, h, w]`` (object-major), the output of memory attention.
    """
    sparse = model.no_prompt_tokens.expand(conditioned.shape[0], -1, -1, -1)
    candidates = decode_candidates(model, conditioned + model.no_prompt_dense, sparse)
    vector = candidates.best(hypernetworks(model, candidates.mask_tokens)).unflatten(0, (objects, -1))
    upscaled = upscale(model, candidates.image, features, objects=objects)
    logits = (vector.unsqueeze(2) @ upscaled).squeeze(2).unflatten(2, features.stride4.shape[-2:])
    scores = candidates.object_scores.unflatten(0, (objects, -1))
    gated = torch.where((scores > 0)[..., None, None], logits, NO_OBJECT_LOGIT)
    picks = candidates.picks.unflatten(0, (objects, -1))
    return gated.transpose(0, 1), scores.transpose(0, 1), picks.transpose(0, 1)
