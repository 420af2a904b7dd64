"""The names of a prediction's stages. This file needs no torch, so that a report can name them too."""

VISION_ENCODER, MEMORY_ENCODER = "vision_encoder", "memory_encoder"
MEMORY_ATTENTION, MASK_DECODER = "memory_attention", "mask_decoder"
"""Stages that modules of the network do, named as the fields of `Tracker.stage_modules`."""
MEMORY_BANK = "memory_bank"
"""The stage of conditioning a session on its references, whatever modules that takes."""
