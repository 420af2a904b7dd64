"""The adapter of HF's EdgeTAM, which is SAM2.1's network with a memory that a perceiver compresses.

A spatial memory is a set of latents instead of the image's tokens: first those that read the whole memory, which have
neither position nor rotary encoding, then one for each window of it, which have both, on a grid of their own. Latents
are not rounded to bf16 as SAM2's memory is.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from transformers import EdgeTamVideoModel
from transformers.models.edgetam_video.modeling_edgetam_video import EdgeTamVideoInferenceSession, window_partition

from strategies.models.dimensions import Dimensions
from strategies.models.precision import DTYPES
from strategies.models.sam2 import HFModule, Sam2, dimensions_of
from strategies.models.sam2_session import Sam2Session


class EdgeTamNetwork(EdgeTamVideoModel):
    """HF's network, whose session can leave out the memory encoder as SAM2's does.

    Its ``forward`` takes ``run_mem_encoder`` without a word and runs memory encoder and perceiver for every target, in
    vain where nobody will see that memory. Speed-ups over such a session would flatter whatever leaves it out.

    Its object scores have an axis more where they are predicted than where the frame is labelled, so that it fails on a
    frame that labels some objects and not others. Here all have the axes of predicted ones.
    """

    def _run_single_frame_inference(
        self, inference_session: Any, *arguments: Any, run_mem_encoder: bool, **named: Any
    ) -> dict[str, Any]:
        wanted = run_mem_encoder and getattr(inference_session, "run_mem_encoder", True)
        output: dict[str, Any] = super()._run_single_frame_inference(
            inference_session, *arguments, run_mem_encoder=wanted, **named
        )
        output["object_score_logits"] = output["object_score_logits"].reshape(1, 1, 1)
        return output


class EdgeTamSession(Sam2Session):
    """EdgeTAM's session. It stores memory in the dtype of the features, so that nothing has to be widened."""

    hf_session = EdgeTamVideoInferenceSession
    couples_objects = False  # It encodes one memory after another, and knows of each whether it is labelled.

    def predict(self, frame: int) -> tuple[Tensor, Tensor]:
        self.hf.run_mem_encoder = False
        try:
            return super().predict(frame)
        finally:
            self.hf.run_mem_encoder = True

    def _widen_memory(self) -> None:
        pass


class EdgeTam(Sam2):
    """EdgeTAM: what `Sam2` has, but for its memory."""

    session = EdgeTamSession

    @cached_property
    def dimensions(self) -> Dimensions:
        config = self.network.config
        return dimensions_of(
            config,
            memory_tokens=config.perceiver_resampler_num_latents + config.perceiver_resampler_num_latents_2d,
            feed_forward=config.memory_attention_mlp_hidden_size,
        )

    @property
    def position_dtype(self) -> torch.dtype:
        """That of the features, as in the session: positions enter memory here, and not only its keys."""
        return DTYPES[self.dtype]

    # --- the memory bank ---------------------------------------------------------------------------------------

    @property
    def memory_dtype(self) -> torch.dtype:
        """Latents are stored as they are computed, and norms compute in fp32."""
        return torch.float32

    def stored_memory(self, embedding: Tensor, mask: Tensor, visible: Tensor, *, tracked: bool = False) -> Tensor:
        features = self.encoded_memory(embedding, mask, visible, tracked=tracked).to(embedding.dtype)
        position = self.encoder_position.T.unflatten(1, features.shape[2:])
        latents = self._latents(features, position.expand_as(features))
        stored: Tensor = latents.to(embedding.dtype).float()
        return stored

    def _latents(self, features: Tensor, position: Tensor) -> Tensor:
        """Compress memories ``[N, W, h, w]`` with positions of that shape to ``[N, memory tokens, W]``.

        HF's perceiver takes one memory at a time: it views latents that it has expanded over a batch, which is an
        error. Its first part does not, and the second is done here.
        """
        perceiver = self.network.spatial_perceiver
        of_image, _ = perceiver._forward_1d(features, position)
        windows = round(perceiver.num_latents_2d**0.5)
        tokens, _ = window_partition(features.permute(0, 2, 3, 1), features.shape[2] // windows)
        of_windows = perceiver.latents_2d.repeat(len(features), 1).unsqueeze(1)  # [N*windows^2, 1, W]
        for layer in perceiver.layers:
            of_windows = layer(of_windows, tokens.flatten(1, 2), positional_encoding=None)
        of_windows = perceiver.layer_norm(of_windows.unflatten(0, (len(features), -1)).squeeze(2))
        return torch.cat([of_image, of_windows], dim=1)

    @torch.no_grad()
    def _memory_position(self) -> Tensor:
        """Latents of the whole have none, those of windows have the windows'. The session stores them with memory."""
        perceiver = self.network.spatial_perceiver
        windows = round(perceiver.num_latents_2d**0.5)
        size = torch.Size((1, self.network.mem_dim, windows, windows))
        position: Tensor = perceiver.positional_encoding(size, self.device, torch.float32).flatten(2)[0].T
        everywhere = position.new_zeros(perceiver.num_latents_1d, position.shape[1])
        return torch.cat([everywhere, position]).to(DTYPES[self.dtype]).float()

    # --- memory attention --------------------------------------------------------------------------------------

    def memory_rotary(self, memories: int) -> tuple[Tensor, Tensor]:
        """Only latents of windows turn, by the tables of their own grid."""
        attention = self.network.memory_attention
        tables = attention.rotary_emb(self.embedding_position, attention.position_ids_k)
        cos, sin = (table.flatten(0, -2) for table in tables)
        unturned = self.network.spatial_perceiver.num_latents_1d
        cos = torch.cat([cos.new_ones(unturned, cos.shape[1]), cos])
        sin = torch.cat([sin.new_zeros(unturned, sin.shape[1]), sin])
        return cos.repeat(memories, 1), sin.repeat(memories, 1)

    def feed_forward(self, layer: HFModule, x: Tensor) -> Tensor:
        hidden = layer.mlp.up_proj(layer.layer_norm3(x))
        hidden = hidden.relu_() if isinstance(layer.mlp.act_fn, nn.ReLU) else layer.mlp.act_fn(hidden)
        out: Tensor = layer.mlp.down_proj(hidden)
        return out

    def attend_to_memory(self, queries: Tensor, memory: Tensor, position: Tensor, *, pointer_tokens: int) -> Tensor:
        memories = (memory.shape[1] - pointer_tokens) // self.dimensions.memory_tokens
        return self._attend(queries, memory, position, pointer_tokens, num_spatial_memory_tokens=memories)
