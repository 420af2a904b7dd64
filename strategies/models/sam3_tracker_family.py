"""SAM3's tracker as a family: the published architecture and a small one to test with, and how they are loaded.

The published checkpoint, `facebook/sam3`, holds a whole `sam3_video` model. Of it the tracker takes its own tensors and
those of the image encoder, which it shares with the detector but for the neck.
"""

from __future__ import annotations

from typing import Any

from transformers import Sam3TrackerVideoConfig, Sam3TrackerVideoModel, Sam3VideoConfig, Sam3VisionConfig, Sam3ViTConfig
from transformers.models.sam3_tracker_video.configuration_sam3_tracker_video import (
    Sam3TrackerVideoMaskDecoderConfig,
    Sam3TrackerVideoPromptEncoderConfig,
)

from strategies.models.drawn import centre, spread
from strategies.models.family import Family
from strategies.models.sam2_family import NO_EFFECT, SWITCHED
from strategies.models.sam3_tracker import Sam3Tracker

PUBLISHED, TOY = NAMES = ("sam3_tracker", "sam3_tracker_toy")
WIDTH = 128
"""Channels of the toy: more than memory's 64 (DESIGN section 3, trap 10)."""
SIDE = 112
"""The toy's input in pixels: 8 patches of 14, so that masks are resized as at 1008 px."""

ENCODER: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "pretrain_image_size": SIDE // 2,
    "window_size": 4,
    "global_attn_indexes": [1],
}
"""The toy's encoder has layers with windows and one without, and tiles its positions, as the published one does."""

ENCODER_NO_EFFECT = frozenset(
    {"vision_config.backbone_config.hidden_dropout", "vision_config.backbone_config.attention_dropout"}
)
"""Fields of the encoder's configuration that change no mask, because only training drops anything."""


def model_config(name: str) -> Sam3TrackerVideoConfig:
    """Return the architecture of a model of `NAMES`."""
    return toy_config() if name == TOY else Sam3TrackerVideoConfig()


def toy_config() -> Sam3TrackerVideoConfig:
    """Return the toy's: the published architecture at 112 px with 2.2 M parameters."""
    return Sam3TrackerVideoConfig(
        image_size=SIDE,
        vision_config=Sam3VisionConfig(backbone_config=Sam3ViTConfig(**ENCODER), fpn_hidden_size=WIDTH),
        prompt_encoder_config=Sam3TrackerVideoPromptEncoderConfig(hidden_size=WIDTH),
        mask_decoder_config=Sam3TrackerVideoMaskDecoderConfig(
            hidden_size=WIDTH, mlp_dim=2 * WIDTH, num_attention_heads=4, iou_head_hidden_dim=WIDTH
        ),
        memory_attention_hidden_size=WIDTH,
        memory_attention_num_layers=2,
        memory_attention_feed_forward_hidden_size=2 * WIDTH,
        memory_encoder_hidden_size=WIDTH,
        mask_downsampler_embed_dim=WIDTH,
        memory_fuser_embed_dim=WIDTH,
        memory_fuser_intermediate_dim=2 * WIDTH,
    )


SAM3_TRACKER = Family(
    title="SAM3 tracker",
    names=NAMES,
    config=Sam3TrackerVideoConfig,
    network=Sam3TrackerVideoModel,
    tracker=Sam3Tracker,
    architecture=model_config,
    repository=lambda name: "facebook/sam3",
    drawn=frozenset({TOY}),
    within={Sam3VideoConfig.model_type: "tracker_config"},
    no_effect=NO_EFFECT | ENCODER_NO_EFFECT,
    switched=SWITCHED,
    spread=spread,
    centre=centre,
)
