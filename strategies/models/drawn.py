"""Random weights, drawn so that agreement on them means something.

As transformers initialises a network, every object score is some thousandths below 0, so that all gates are closed and
every mask is the same -1024; and memory, pointers and positions hardly move what comes out. Strategies would agree on
masks that nobody computed. With weights of unit gain, every part of the network changes the masks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from strategies.models.sam2 import Sam2
from strategies.vocabulary import VisionFeatures

MASK_GAIN, MEMORY_GAIN = 10.0, 3.0
"""The last convolution of masks before they enter memory has one gain, what attention reads from memory the other."""
TOKEN_GAIN = 4.0
"""The decoder's tokens have this gain in what they ask of the image and read from it, so that scores depend on it."""
PICTURE_DETAIL = 8
"""The drawn picture has so many blobs along each side."""
PROBES = (0.25, 0.5, 0.75)
"""The heads are centred on the drawn picture, moved by these shares of its width."""
LAYER_SCALE = 0.5
"""The layers of the memory fuser have this scale; at the millionth that they start at, memory would not show them."""


@torch.no_grad()
def spread(network: PreTrainedModel) -> None:
    """Draw all weights anew.

    Products and convolutions have a deviation of 1 / sqrt(fan-in), tokens, embeddings and positions of 1; biases are 0.
    Where masks enter memory, and where memory leaves, the gain is larger, so that masks depend on the references.
    """
    of_modules: set[int] = set()
    for module in network.modules():
        match module:
            case nn.Linear() | nn.Conv2d():
                module.weight.normal_(std=module.weight[0].numel() ** -0.5)
            case nn.ConvTranspose2d():
                module.weight.normal_(std=module.in_channels**-0.5)
            case nn.Embedding():
                module.weight.normal_()
            case nn.LayerNorm():
                module.weight.fill_(1.0)
            case _ if not hasattr(module, "weight"):
                continue
        of_modules.update(id(own) for own in module.parameters(recurse=False))
        if getattr(module, "bias", None) is not None:
            module.bias.zero_()
    for name, parameter in network.named_parameters():
        if id(parameter) in of_modules:
            continue
        if name.endswith(".scale"):
            parameter.fill_(LAYER_SCALE)
        else:
            parameter.normal_()
    network.memory_encoder.mask_downsampler.final_conv.weight.mul_(MASK_GAIN)
    for layer in network.memory_attention.layers:
        layer.cross_attn_image.o_proj.weight.mul_(MEMORY_GAIN)
    for layer in network.mask_decoder.transformer.layers:
        layer.cross_attn_token_to_image.q_proj.weight.mul_(TOKEN_GAIN)
        layer.cross_attn_token_to_image.o_proj.weight.mul_(TOKEN_GAIN)


@torch.no_grad()
def centre(model: Sam2) -> None:
    """Shift the heads' biases so that some gates open, others close, and each candidate mask is the best somewhere.

    Object scores and predicted IoUs are 0 on average then, over a drawn picture with two objects and parts of it.
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 3, PICTURE_DETAIL, PICTURE_DETAIL, generator=generator)
    picture = F.interpolate(coarse, size=(model.side, model.side), mode="bicubic", align_corners=False)
    masks = torch.zeros(2, model.side, model.side, dtype=torch.bool)
    masks[0, : model.side // 3, : model.side // 2] = masks[1, model.side // 2 :, model.side // 3 :] = True
    scores: list[Tensor] = []
    ious: list[Tensor] = []
    session = model.new_session(frames=2)
    with model.computing():
        features = model.vision_features(picture.to(model.device))
        session.inject(0, features)
        session.condition(0, masks, (1, 2))
        hook = model.watch_candidates(lambda iou, _: ious.append(iou.flatten(0, 1).float()))
        for share in PROBES:
            session.inject(1, _moved(features, share))
            scores.append(session.predict(1)[1].flatten())
        hook.remove()
    decoder = model.network.mask_decoder
    # The shifts are rounded, so that sums in the order of another machine or thread give the same weights.
    decoder.pred_obj_score_head.proj_out.bias.sub_(torch.cat(scores).median().round(decimals=3))
    decoder.iou_prediction_head.proj_out.bias[1:].sub_(torch.cat(ious).mean(dim=0).round(decimals=3))


def _moved(features: VisionFeatures, share: float) -> VisionFeatures:
    """Return features that are moved sideways by a share of their width; what leaves one edge enters at the other."""

    def move(level: Tensor) -> Tensor:
        return level.roll(int(share * level.shape[-1]), dims=-1)

    return VisionFeatures(
        embedding=move(features.embedding), stride4=move(features.stride4), stride8=move(features.stride8)
    )
