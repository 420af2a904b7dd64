"""triton: `direct` with its shared bank, whose attentions run in fused Triton kernels.

How: as ``direct bank=shared``, and cross-attention is one kernel from rotary encoding to residual. It attends over the
raw 64-wide memory instead of projected values of 256, which takes 320 instead of 512 multiply-adds for every query and
key, and lets one tile of keys and memory serve all queries that fit. ``self_attention``: ``library`` rotates in a
kernel and leaves the rest to the fastest attention that torch has; ``fused`` runs it in the same kernel as
cross-attention. ``kv``: with ``int8`` or ``fp8`` keys and memory are kept in 8 bits with a scale for each token, and
read so by the kernel, which gives other masks. Tiles are tuned at first use on a device and remembered on disk. Where a
batch is too small to keep the device busy, several programs share a query's keys.

Costs: time = about one forward pass per chunk; memory = keys of every layer and the memory once (O * M tokens), with
``kv`` half of what they take in bf16, plus ``chunk_tokens`` tokens of activations. Needs a CUDA GPU, or
``TRITON_INTERPRET=1`` in the environment from the start, which is slow and there for tests.
From: DESIGN sections 2 and 8; FlashAttention-2 and -3 for the kernel. Exact up to the dtype's noise, but with ``kv``.
Its kernel reads all of memory in all layers, so it takes no other of `direct`'s approximations.
"""

from __future__ import annotations

import importlib.util
import os
from typing import Literal, get_args

from strategies.components.flops import PredictionFlops, raw_values_flops
from strategies.components.mask_decoder import decode_best
from strategies.components.memory_bank import MemoryBank
from strategies.components.quantised import KV, check_kv
from strategies.components.stages import MASK_DECODER, MEMORY_ATTENTION, stage
from strategies.components.static_shapes import Chunk, Outputs
from strategies.direct import Direct
from strategies.errors import UnavailableError, UserError, one_of
from strategies.models.tracker import Tracker
from strategies.vocabulary import VisionFeatures

SelfAttention = Literal["library", "fused"]
SELF_ATTENTIONS: tuple[SelfAttention, ...] = get_args(SelfAttention)


class Triton(Direct):
    """Batched components with fused attention; see the module's docstring.

    self_attention: which kernel attends within an image, torch's (``library``) or ours (``fused``).
    chunk_tokens: image tokens that go at once through the memory encoder, which makes the bank, and through memory
    attention; None for as many as suit the device (`strategies.components.chunks`).
    """

    exact_where = "keys and values have the model's own bits"

    def __init__(
        self,
        model: Tracker,
        *,
        self_attention: SelfAttention = "library",
        chunk_tokens: int | None = None,
        kv: KV = "own",
    ) -> None:
        super().__init__(model, bank="shared", chunk_tokens=chunk_tokens, kv=kv)
        one_of("self_attention", self_attention, SELF_ATTENTIONS)
        _check_machine(model)
        _check_model(model)
        check_kv(kv, model.device)
        self.self_attention = self_attention
        self.kv = kv

    def _chunk_on(self, memory: MemoryBank) -> Chunk:
        from strategies.kernels.memory_attention import FusedMemoryAttention  # Not all machines have triton.

        in_kernel = self.self_attention == "fused"
        fused = FusedMemoryAttention(self.model, memory, fused_self_attention=in_kernel, kv=self.kv)

        def chunk(targets: VisionFeatures, objects: slice) -> Outputs:
            with stage(MEMORY_ATTENTION):
                conditioned = fused.condition(targets.embedding, objects)
            count = objects.stop - objects.start
            with stage(MASK_DECODER):
                return decode_best(self.model, self._two_way, conditioned, targets, objects=count)

        return chunk

    def _shared_flops(self, references: int) -> PredictionFlops:
        return raw_values_flops(self.model.dimensions, references)


def _check_machine(model: Tracker) -> None:
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if importlib.util.find_spec("triton") is None or not (model.device.type == "cuda" or interpreted):
        raise UnavailableError(
            f"strategy triton needs a CUDA GPU and the package triton, and the model is on {model.device}: set "
            "device=cuda where there is one (or TRITON_INTERPRET=1, to try it slowly on a CPU), else use direct"
        )


def _check_model(model: Tracker) -> None:
    attention = model.dimensions.memory_attention
    widths = attention.head_width, attention.hidden
    if attention.heads != 1:
        raise UserError(
            f"strategy triton serves memory attention of one head, and {model.name} has {attention.heads}: use direct"
        )
    if any(width & (width - 1) for width in widths):
        raise UserError(
            f"strategy triton serves widths that are powers of two, and {model.name} has {widths}: use direct"
        )
