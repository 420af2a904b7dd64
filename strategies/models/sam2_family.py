"""SAM2 and SAM2.1 as a family: the architectures of its models, as HF configurations, and how they are loaded.

The sizes are those of the published SAM2 and SAM2.1 checkpoints (hiera tiny, small, base_plus, large) and of the toy
model that this project trains itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
from transformers.models.sam2_video.configuration_sam2_video import (
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
)

from strategies.models.drawn import centre, spread
from strategies.models.family import Family
from strategies.models.sam2 import Sam2

TOY_FOLDER = Path(__file__).parent / "toy"

HIERA: dict[str, dict[str, Any]] = {
    "tiny": {},  # the library's defaults
    "small": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "base_plus": {
        "hidden_size": 112,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 3, 16, 3],
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    },
}

FLAGS = ("enable_temporal_pos_encoding_for_object_pointers", "enable_occlusion_spatial_embedding")
VERSIONS: dict[str, dict[str, bool]] = {"sam2.1": dict.fromkeys(FLAGS, True), "sam2": dict.fromkeys(FLAGS, False)}
"""The fields in which the published configs of the two versions differ, as the converter of transformers sets them."""
SWITCHED = {
    "temporal_positional_encoding_projection_layer": FLAGS[0],
    "occlusion_spatial_embedding_parameter": FLAGS[1],
}
"""By a part of a tensor's name, the field that says whether the network has it."""

NAMES = ("toy", *(f"{version}_hiera_{size}" for version in VERSIONS for size in HIERA))

NO_EFFECT = frozenset(
    {
        "initializer_range",
        "memory_fuser_layer_scale_init_value",
        "memory_attention_dropout",
        "memory_attention_rope_dropout",
        "mask_decoder_config.dynamic_multimask_via_stability",
        "mask_decoder_config.dynamic_multimask_stability_delta",
        "mask_decoder_config.dynamic_multimask_stability_thresh",
        "vision_config.initializer_range",
        "vision_config.backbone_config.initializer_range",
    }
)
"""Fields of a configuration that change no mask: what weights are drawn from, what only training does, and how a single
mask is judged (`Sam2` serves the best of three)."""
HIERA_NO_EFFECT = frozenset({"vision_config.backbone_config.num_attention_heads"})
"""The encoder replaces this number by one for each stage."""


def model_config(name: str) -> Sam2VideoConfig:
    """Return the architecture of a model of `NAMES`."""
    if name == "toy":
        return toy_config()
    version, _, size = name.partition("_hiera_")
    return sam2_config(version, size)


def toy_config() -> Sam2VideoConfig:
    """Return the toy's: SAM2.1's architecture at 128 px with 1.8 M parameters."""
    sections = json.loads((TOY_FOLDER / "config.json").read_text())
    backbone = Sam2HieraDetConfig(**sections["backbone"])
    return Sam2VideoConfig(
        vision_config=Sam2VisionConfig(backbone_config=backbone, **sections["vision"]),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(**sections["prompt_encoder"]),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(**sections["mask_decoder"]),
        **sections["video"],
    )


def sam2_config(version: str, size: str) -> Sam2VideoConfig:
    """Return SAM2's or SAM2.1's (a key of `VERSIONS`) at 1024 px with the encoder of ``size`` (a key of `HIERA`)."""
    backbone = Sam2HieraDetConfig(**HIERA[size])
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=backbone.embed_dim_per_stage[::-1])
    return Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(),
        **VERSIONS[version],
    )


def repository(name: str) -> str:
    """Return where the hub has a model's weights."""
    return f"facebook/{name.replace('_', '-')}"


SAM2 = Family(
    title="SAM2 video",
    names=NAMES,
    config=Sam2VideoConfig,
    network=Sam2VideoModel,
    tracker=Sam2,
    architecture=model_config,
    repository=repository,
    shipped={"toy": TOY_FOLDER / "model.safetensors"},
    no_effect=NO_EFFECT | HIERA_NO_EFFECT,
    switched=SWITCHED,
    spread=spread,
    centre=centre,
)
