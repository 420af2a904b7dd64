"""direct: the model's components called directly, batched over targets and objects.

How: the memory bank is built once per group; a batch of T targets and O objects goes through memory attention and the
mask decoder as T * O pairs, in chunks of bounded size. ``bank`` says how the bank (M tokens an object) reaches them:

- ``repeat``: copied for every pair, T * O * M tokens in memory, keys and values projected per pair;
- ``expand``: a view for every pair, still projected per pair; one call of the network for each object;
- ``shared``: keys and values are projected and rotated once per group (O * M tokens per layer), and all targets of an
  object form one long query axis, so nothing is copied, expanded or projected twice. Layer 0's self-attention, which
  knows no object, runs once per target.

Options of how it runs:

- ``compile``: by torch.compile, once for each shape (objects, memory tokens, targets of a chunk), which takes a minute
  on a CPU and needs a C++ compiler there. Groups of the same shape share the compiled code. ``bank=expand`` compiles
  one pass for each object.
- ``cuda_graphs``: a chunk's kernels recorded once for each group and shape, and launched at once; CUDA GPUs only.
- ``sdpa``: which of torch's attention kernels to use, ``auto``, ``flash``, ``cudnn``, ``efficient`` or ``math``.

Approximations, which give other masks, of a shared bank (`strategies.components.cheaper_memory`):

- ``memory``: what each (target, object) reads of the bank, ``topk_frames:N``, ``topk_tokens:N``, ``pooled:2`` or
  ``pooled:4``. What a pair chooses for itself is copied for it, so ``topk_frames`` takes as much memory as ``repeat``;
- ``kv``: rounded to how many bits, to see what masks lose: only `triton` saves by it; ``layers``: by how many layers of
  memory attention.

With ``compile`` or ``cuda_graphs`` every chunk is padded to the size of the largest since `prepare`, so predict a full
batch first; what is larger gets a shape of its own.

Costs: time = about one forward pass per chunk. Memory = the bank, at 1024 px in fp32 R * O * 1 MB, and for ``shared``
R * O * 33.6 MB of keys and values; activations of at most ``chunk_tokens`` tokens, whatever the batch; for ``repeat``
and ``expand`` M * (2 * 64 + 5 * C) * 4 bytes more for each of their pairs, which hold copies of keys and values; with
``cuda_graphs`` a chunk's inputs and masks once more; the masks themselves. No backend but ``math`` makes the matrix of
all queries and keys.
From: DESIGN sections 1 and 2. Exact up to float noise in every mode that is no approximation.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Literal, get_args

import torch

from strategies.base import Strategy
from strategies.components.cheaper_memory import OF_TRACKED, CheaperMemory
from strategies.components.chunks import pairs_on
from strategies.components.compiled import compiled
from strategies.components.cuda_graphs import CudaRecorder, Graphs
from strategies.components.flops import PredictionFlops, per_pair_flops, shared_bank_flops, spatial_tokens
from strategies.components.mask_decoder import decode_best
from strategies.components.memory_attention import SharedBank, condition_per_pair, condition_shared
from strategies.components.memory_bank import MemoryBank, build_memory_bank
from strategies.components.quantised import KV
from strategies.components.sdpa import Sdpa, attention_by, check_choice, explain_refusals
from strategies.components.stages import MASK_DECODER, MEMORY_ATTENTION, stage
from strategies.components.static_shapes import Chunk, Outputs, Padded
from strategies.components.two_way import TwoWay
from strategies.errors import UserError, one_of
from strategies.models.tracker import Tracker
from strategies.vocabulary import Predictions, References, VisionFeatures

Bank = Literal["shared", "expand", "repeat"]
BANKS: tuple[Bank, ...] = get_args(Bank)


class Direct(Strategy):
    """Batched components; see the module's docstring.

    chunk_tokens: image tokens that go at once through the decoder, which makes the bank's pointers, and through memory
    attention; None for as many as suit the device (`strategies.components.chunks`).
    """

    exact_where = "all of memory is read as it is"
    _chunk: Chunk | None = None

    def __init__(
        self,
        model: Tracker,
        *,
        bank: Bank = "shared",
        chunk_tokens: int | None = None,
        compile: bool = False,
        cuda_graphs: bool = False,
        sdpa: Sdpa = "auto",
        memory: str = "all",
        kv: KV = "own",
        layers: int | None = None,
    ) -> None:
        """Take the options. Raises UnavailableError where the device lacks CUDA graphs or that attention backend."""
        super().__init__(model)
        one_of("bank", bank, BANKS)
        if chunk_tokens is not None and chunk_tokens < 1:
            raise UserError(f"chunk_tokens={chunk_tokens} must be at least 1")
        check_choice(sdpa, model.device)
        self._cheaper = CheaperMemory.of(model.dimensions, memory=memory, kv=kv, layers=layers)
        self.exact = self.exact and self._cheaper.exact
        if self._cheaper.reading.kind in OF_TRACKED:
            raise UserError(
                f"memory={memory} goes by the ages of frames that were tracked, and a memory of references has none: "
                "choose all, topk_frames:N, topk_tokens:N, pooled:2 or pooled:4, or follow videos by scenario=stream"
            )
        if bank != "shared" and not self.exact:
            raise UserError(
                f"bank={bank} leaves memory to the network's own attention, which reads all of it: take bank=shared "
                f"with memory={memory}, kv={kv}, layers={'null' if layers is None else layers}"
            )
        self.bank = bank
        self.sdpa = sdpa
        self._chunk_tokens = chunk_tokens
        self._pairs_at_once = 1
        self._two_way = TwoWay(model)
        self._compute = compiled(self._outputs, literally=sdpa == "math") if compile else self._outputs
        self.static = compile or cuda_graphs
        self._recorder = CudaRecorder(model.device) if cuda_graphs else None

    @property
    def pairs_at_once(self) -> int:
        return self._pairs_at_once

    def _prepare(self, references: References) -> None:
        self._pairs_at_once = self._chunk_size(references)
        with self._explain_refusals(), attention_by(self.sdpa):
            chunk = self._chunk_on(build_memory_bank(self.model, references, chunk=self._pairs_at_once))
        if self._recorder is not None:
            chunk = Graphs(chunk, self._recorder)
        self._chunk = Padded(chunk) if self.static else chunk

    def _chunk_size(self, references: References) -> int:
        dimensions = self.model.dimensions
        if self._chunk_tokens is not None:
            return max(1, self._chunk_tokens // dimensions.image_tokens)
        copied = len(references) * (dimensions.memory_tokens + dimensions.pointer_tokens)
        if self.bank == "shared":
            chosen = self._cheaper.reading.chosen_together(dimensions) is not None
            copied = self._tokens_read(len(references)) if chosen else 0
        return pairs_on(self.model.device, dimensions, copied_tokens=copied)

    def _tokens_read(self, references: int) -> int:
        dimensions = self.model.dimensions
        spatial = self._cheaper.reading.tokens(spatial_tokens(dimensions, references), dimensions)
        return spatial + references * dimensions.pointer_tokens

    def _chunk_on(self, memory: MemoryBank) -> Chunk:
        bank = self._cheaper.projected(self.model, memory) if self.bank == "shared" else memory
        return lambda targets, objects: self._compute(targets, bank.objects(objects))

    def _outputs(self, targets: VisionFeatures, bank: SharedBank | MemoryBank) -> Outputs:
        with attention_by(self.sdpa):  # It is in here because torch keeps compiled code by its text, not by its caller.
            with stage(MEMORY_ATTENTION):
                if isinstance(bank, SharedBank):
                    conditioned = condition_shared(self.model, targets.embedding, bank)
                else:
                    conditioned = condition_per_pair(self.model, targets.embedding, bank, copies=self.bank == "repeat")
            objects = len(conditioned) // len(targets)
            with stage(MASK_DECODER):
                return decode_best(self.model, self._two_way, conditioned, targets, objects=objects)

    def _predict(self, targets: VisionFeatures) -> Predictions:
        assert self._chunk is not None
        objects = len(self.object_ids)
        objects_at_once = min(objects, self._pairs_at_once)
        targets_at_once = max(1, self._pairs_at_once // objects_at_once)
        rows = []
        for start in range(0, len(targets), targets_at_once):
            part = targets[start : start + targets_at_once]
            with self._explain_refusals():
                columns = [
                    self._chunk(part, slice(first, min(first + objects_at_once, objects)))
                    for first in range(0, objects, objects_at_once)
                ]
            rows.append([torch.cat(piece, dim=1) for piece in zip(*columns, strict=True)])
        logits, scores, ious = (torch.cat(piece) for piece in zip(*rows, strict=True))
        return Predictions(
            logits=logits.float(), object_scores=scores.float(), ious=ious.float(), object_ids=self.object_ids
        )

    def _explain_refusals(self) -> AbstractContextManager[None]:
        return explain_refusals(self.sdpa, dtype=self.model.dtype, device=self.model.device)

    def _flops(self, references: int) -> PredictionFlops:
        if self.bank != "shared":
            return per_pair_flops(self.model.dimensions, references)
        work = self._shared_flops(references)
        chunks_of_objects = -(-len(self.object_ids) // self._pairs_at_once)  # each begins at layer 0 again
        return replace(work, per_target=chunks_of_objects * work.per_target)

    def _shared_flops(self, references: int) -> PredictionFlops:
        """Return the FLOPs over what `_chunk_on` makes of a shared bank, where all objects go through it at once."""
        dimensions = self.model.dimensions
        chosen = self._cheaper.reading.chosen_together(dimensions) is not None
        return shared_bank_flops(
            dimensions,
            references,
            layers=self._cheaper.layers,
            read=self._tokens_read(references),
            ranked=spatial_tokens(dimensions, references) if chosen else 0,
        )

    def _release(self) -> None:
        self._chunk = None
