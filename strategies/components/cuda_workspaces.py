"""The working memory of cuBLAS on a GPU, which torch keeps for each pair of a handle (a thread's) and a stream.

On a Hopper GPU a pair holds 32 MiB, and torch never frees it by itself. So whoever makes streams keeps them, and frees
their workspaces when it no longer computes; else they would count as memory of whatever runs next.
"""

from __future__ import annotations

import torch


def free_workspaces(device: torch.device) -> None:
    """Free the workspaces of all handles and streams; this does nothing where the device is no GPU.

    They are made again where they are needed. Work that is under way is safe, as torch gives their memory to later work
    of the same stream only; a CUDA graph is safe if it was recorded without workspaces of before (`CudaRecorder`).
    """
    if device.type == "cuda":
        torch._C._cuda_clearCublasWorkspaces()
