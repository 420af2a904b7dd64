"""EdgeTAM as a family: the published architecture and a small one to test with, and how they are loaded.

The published image encoder is a RepViT of the package timm, which needs torchvision. The toy has the small Hiera of
SAM2's toy in its place: everything behind the features, where strategies work, is EdgeTAM's.
"""

from __future__ import annotations

import json

import torch
from transformers import (
    EdgeTamVideoConfig,
    EdgeTamVisionConfig,
    Sam2HieraDetConfig,
    Sam2VisionConfig,
    TimmWrapperConfig,
)
from transformers.models.edgetam_video.configuration_edgetam_video import (
    EdgeTamVideoMaskDecoderConfig,
    EdgeTamVideoPromptEncoderConfig,
)

from strategies.models.drawn import centre, spread
from strategies.models.edgetam import EdgeTam, EdgeTamNetwork
from strategies.models.family import Family
from strategies.models.sam2_family import HIERA_NO_EFFECT, NO_EFFECT, SWITCHED, TOY_FOLDER, VERSIONS

PUBLISHED, TOY = NAMES = ("edgetam", "edgetam_toy")
WIDTH = 128
"""Channels of the toy: more than memory's 64 (DESIGN section 3, trap 10)."""
LATENT_GAIN = 6.0
"""Of random weights, in what latents ask of a memory, take from it, and are asked by an image."""
ENCODER = "repvit_m1"

EdgeTamVisionConfig.has_no_defaults_at_init = True
"""transformers 5.17 takes its default from the hub, and makes the default whenever it checks a configuration: it prints
what differs from it. Without a network no such configuration could be made at all."""

PERCEIVER_NO_EFFECT = frozenset({"perceiver_resampler_hidden_dropout", "perceiver_resampler_attention_dropout"})
"""Fields of the configuration that change no mask, because only training drops anything."""
TIMM_NO_EFFECT = frozenset(
    f"vision_config.backbone_config.{field}"
    for field in ("pretrained_cfg", "label_names", "num_classes", "num_features", "global_pool", "do_pooling")
)
"""What timm says of a network's head and training, which features do not have."""


def model_config(name: str) -> EdgeTamVideoConfig:
    """Return the architecture of a model of `NAMES`."""
    return toy_config() if name == TOY else edgetam_config()


def edgetam_config() -> EdgeTamVideoConfig:
    """Return the published one, as the converter of transformers sets it, whose defaults name another encoder."""
    backbone = TimmWrapperConfig(
        architecture=ENCODER, model_args={"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    )
    return EdgeTamVideoConfig(vision_config=EdgeTamVisionConfig(backbone_config=backbone), **VERSIONS["sam2"])


def toy_config() -> EdgeTamVideoConfig:
    """Return the toy's: the published architecture behind another encoder, at 128 px with 2.0 M parameters.

    A memory of 64 tokens becomes 8 latents of the whole and 16 of windows, as many of a kind as tell them apart. The
    two flags in which SAM2.1 differs from SAM2 are on, so that tests see what they do. The published model has them
    off.
    """
    of_sam2 = json.loads((TOY_FOLDER / "config.json").read_text())
    return EdgeTamVideoConfig(
        image_size=128,
        vision_config=Sam2VisionConfig(backbone_config=Sam2HieraDetConfig(**of_sam2["backbone"]), **of_sam2["vision"]),
        prompt_encoder_config=EdgeTamVideoPromptEncoderConfig(**of_sam2["prompt_encoder"]),
        mask_decoder_config=EdgeTamVideoMaskDecoderConfig(**of_sam2["mask_decoder"]),
        memory_attention_hidden_size=WIDTH,
        memory_attention_mlp_hidden_size=2 * WIDTH,
        memory_attention_rope_feat_sizes=[8, 8],
        memory_attention_rope_k_sizes=[4, 4],
        perceiver_resampler_num_latents=8,
        perceiver_resampler_num_latents_2d=16,
        perceiver_resampler_mlp_intermediate_size=128,
        memory_encoder_hidden_size=WIDTH,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=2 * WIDTH,
    )


@torch.no_grad()
def spread_with_latents(network: EdgeTamNetwork) -> None:
    """Draw all weights as `spread` does, with more gain where latents read a memory, and where they are read.

    A latent is an average of a whole memory, so that without it masks would hardly depend on the references.
    """
    spread(network)
    for layer in network.spatial_perceiver.layers:
        layer.cross_attention.q_proj.weight.mul_(LATENT_GAIN)
        layer.cross_attention.o_proj.weight.mul_(LATENT_GAIN)
    for layer in network.memory_attention.layers:
        layer.cross_attn_image.q_proj.weight.mul_(LATENT_GAIN)
        layer.cross_attn_image.o_proj.weight.mul_(2)


EDGETAM = Family(
    title="EdgeTAM video",
    names=NAMES,
    config=EdgeTamVideoConfig,
    network=EdgeTamNetwork,
    tracker=EdgeTam,
    architecture=model_config,
    repository=lambda name: "yonigozlan/EdgeTAM-hf",
    drawn=frozenset({TOY}),
    packages={PUBLISHED: "timm"},
    no_effect=NO_EFFECT | HIERA_NO_EFFECT | PERCEIVER_NO_EFFECT | TIMM_NO_EFFECT,
    switched=SWITCHED,
    spread=spread_with_latents,
    centre=centre,
)
