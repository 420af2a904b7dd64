"""CUDA graphs: the kernels of a chunk recorded once for each shape, then launched all at once.

A graph reads and writes the memory that it was recorded with. So each has input buffers that targets are copied into,
its outputs are copied out, and whoever holds the graphs holds the bank that they read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from strategies.components.cuda_workspaces import free_workspaces
from strategies.components.static_shapes import Chunk, Outputs
from strategies.errors import UnavailableError
from strategies.vocabulary import VisionFeatures

WARM_UPS = 3
"""Runs before a recording, by which libraries make their plans and workspaces and code is compiled."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """A recorded chunk: ``replay`` does the work again, and ``outputs`` are the tensors where it leaves its results."""

    replay: Callable[[], None]
    outputs: Outputs


Recorder = Callable[[Callable[[], Outputs]], Recorded]


class Graphs:
    """A chunk that is recorded at its first call with each number of targets and slice of the objects.

    record: how to record; a `CudaRecorder` except in tests. Dropping this object frees the graphs and their memory.
    """

    def __init__(self, chunk: Chunk, record: Recorder) -> None:
        self._chunk = chunk
        self._record = record
        self._graphs: dict[tuple[int, int, int], tuple[VisionFeatures, Recorded]] = {}

    def __call__(self, targets: VisionFeatures, objects: slice) -> Outputs:
        key = len(targets), objects.start, objects.stop
        if key not in self._graphs:
            buffers = targets.clone()
            self._graphs[key] = buffers, self._record(partial(self._chunk, buffers, objects))
        buffers, recorded = self._graphs[key]
        buffers.copy_(targets)
        recorded.replay()
        logits, scores, ious = recorded.outputs
        return logits.clone(), scores.clone(), ious.clone()


class CudaRecorder:
    """A recorder for one CUDA device, whose graphs share their working memory, as no two run at once.

    All its recordings, and the runs that warm them up, are on one stream of its own. Workspaces of cuBLAS are freed
    before and after each, so that a graph has its own in the graphs' memory: it outlives whatever frees the others.
    """

    def __init__(self, device: torch.device) -> None:
        """Take a pool of graphs for the device. Raises UnavailableError where that is no CUDA device."""
        if device.type != "cuda":
            raise UnavailableError(
                f"cuda_graphs=true needs a CUDA GPU, and the model is on {device}: set device=cuda where there is one, "
                "or leave it off"
            )
        self._device = device
        self._pool = torch.cuda.graph_pool_handle()
        self._stream = torch.cuda.Stream(device)

    def __call__(self, work: Callable[[], Outputs]) -> Recorded:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._device):
            self._warm_up(work)
            free_workspaces(self._device)
            try:
                # Other threads, such as those that watch the device, may go on with calls of their own.
                with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                    outputs = work()
            finally:
                free_workspaces(self._device)
        return Recorded(replay=graph.replay, outputs=outputs)

    def _warm_up(self, work: Callable[[], Outputs]) -> None:
        """Run the work outside the caller's stream: a recording must not depend on what that has under way."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(self._stream)
