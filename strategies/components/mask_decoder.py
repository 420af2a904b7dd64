"""The SAM2 mask decoder in batches of (target, object) pairs, computing one candidate mask instead of four.

The session upsamples every candidate to full resolution and keeps one; the choice needs only the predicted IoUs, so
the best candidate is picked first and only its mask is made (DESIGN section 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from strategies.components.two_way import TwoWay, output_tokens
from strategies.models.tracker import Tracker
from strategies.vocabulary import VisionFeatures

NO_OBJECT_LOGIT = -1024.0
"""Logit of every pixel behind a closed object-score gate, as in the original model."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The decoder's candidate masks of N pairs, before any mask is made.

    mask_tokens: ``[N, K, C]``; ious: ``[N, K]``, predicted; object_scores: ``[N]``; image: ``[N, C, h, w]``, the image
    side of the two-way transformer.
    """

    mask_tokens: Tensor
    ious: Tensor
    object_scores: Tensor
    image: Tensor

    def best(self, per_candidate: Tensor) -> Tensor:
        """Return each pair's entry of ``per_candidate`` ``[N, K, ...]`` with the best predicted IoU: ``[N, ...]``."""
        picks = self.ious.argmax(dim=-1)
        return per_candidate[torch.arange(len(picks), device=picks.device), picks]


def decode_candidates(model: Tracker, embedding: Tensor, sparse: Tensor) -> Candidates:
    """Decode the candidates of image embeddings ``[N, C, h, w]``.

    The dense prompt is added to the embeddings already; the sparse prompts are ``[N, 1, P, C]``.
    """
    decoder = model.mask_decoder
    count = embedding.shape[0]
    tokens = torch.cat([output_tokens(decoder).expand(count, 1, -1, -1), sparse], dim=2)
    tokens_out, image = decoder.transformer(
        point_embeddings=tokens,
        image_embeddings=embedding,
        image_positional_embeddings=model.image_position.expand(count, -1, -1, -1),
        attention_similarity=None,
    )
    return _read(model, tokens_out[:, 0], image.squeeze(1).transpose(1, 2).unflatten(2, embedding.shape[-2:]))


def _read(model: Tracker, tokens: Tensor, image: Tensor) -> Candidates:
    """Read the candidates off tokens ``[N, Q, C]`` and their images ``[N, C, h, w]`` by the heads."""
    decoder = model.mask_decoder
    # Token 0 is the object score, 1 the IoU, 2 the single mask; the candidates of multimask output follow.
    return Candidates(
        mask_tokens=tokens[:, 3 : 2 + decoder.num_mask_tokens],
        ious=decoder.iou_prediction_head(tokens[:, 1])[:, 1:],
        object_scores=decoder.pred_obj_score_head(tokens[:, 0]).squeeze(-1),
        image=image,
    )


def upscale(model: Tracker, image: Tensor, features: VisionFeatures, *, objects: int) -> Tensor:
    """Upscale the image side of O*T pairs (object-major) to ``[O, T, C/8, H*W]``, stride 4, skip connections added."""
    decoder = model.mask_decoder
    pairs = (objects, -1)
    x = decoder.upscale_conv1(image).unflatten(0, pairs) + features.stride8
    x = decoder.activation(decoder.upscale_layer_norm(x.flatten(0, 1)))
    x = decoder.upscale_conv2(x).unflatten(0, pairs) + features.stride4
    return decoder.activation(x).flatten(3)


def hypernetworks(model: Tracker, mask_tokens: Tensor) -> Tensor:
    """Make each candidate's mask vector, ``[N, K, C/8]``, from its token."""
    mlps = model.mask_decoder.output_hypernetworks_mlps[1:]
    return torch.stack([mlp(mask_tokens[:, index]) for index, mlp in enumerate(mlps)], dim=1)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """The decoder's best masks of O*T pairs.

    logits: ``[O, T, H, W]``, gated; scores: ``[O, T]``; ious: ``[O, T, K]``, predicted; candidates: of the pairs, one
    after another.
    """

    logits: Tensor
    scores: Tensor
    ious: Tensor
    candidates: Candidates


def decode_best(
    model: Tracker, two_way: TwoWay, conditioned: Tensor, features: VisionFeatures, *, objects: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return `decode`'s logits ``[T, O, H, W]``, object scores ``[T, O]`` and predicted IoUs ``[T, O, K]``."""
    decoded = decode(model, two_way, conditioned, features, objects=objects)
    return decoded.logits.transpose(0, 1), decoded.scores.transpose(0, 1), decoded.ious.transpose(0, 1)


def decode(model: Tracker, two_way: TwoWay, conditioned: Tensor, features: VisionFeatures, *, objects: int) -> Decoded:
    """Decode the best masks of O objects in the T targets that the features are of.

    two_way: that of the model. conditioned: ``[O*T, C, h, w]`` (object-major), the output of memory attention.
    """
    tokens, image = two_way((conditioned + model.no_prompt_dense).flatten(2).transpose(1, 2))
    candidates = _read(model, tokens, image.transpose(1, 2).unflatten(2, conditioned.shape[-2:]))
    vector = candidates.best(hypernetworks(model, candidates.mask_tokens)).unflatten(0, (objects, -1))
    upscaled = upscale(model, candidates.image, features, objects=objects)
    logits = (vector.unsqueeze(2) @ upscaled).squeeze(2).unflatten(2, features.stride4.shape[-2:])
    scores = candidates.object_scores.unflatten(0, (objects, -1))
    gated = torch.where((scores > 0)[..., None, None], logits, NO_OBJECT_LOGIT)
    ious = candidates.ious.unflatten(0, (objects, -1))
    return Decoded(logits=gated, scores=scores, ious=ious, candidates=candidates)
