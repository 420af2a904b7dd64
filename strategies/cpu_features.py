"""Features of this machine's CPU, tried out in another process, where a crash does no harm."""

from __future__ import annotations

import functools
import subprocess
import sys

import torch

_PROBE = """
import torch
torch.set_num_threads(1)
with torch.inference_mode(), torch.autocast("cpu", dtype=torch.{dtype}):
    torch.nn.Linear(256, 768)(torch.randn(64, 256))
"""
"""The product is as large as an encoder's layer, because small products take other instructions."""

_PYTHON_ERROR = 1
"""The exit status of an interpreter that ends in an exception."""


@functools.cache
def usable_on_cpu(dtype: torch.dtype) -> bool:
    """Return whether a process survives autocast to ``dtype`` on this CPU; takes seconds the first time.

    A CPU may announce instructions (AMX) that a virtual machine does not let it run. oneDNN believes the announcement
    and the process dies of SIGILL, which nothing in Python can catch: hence another process, to see whether it dies.
    Whatever else goes wrong there says nothing of the CPU, and counts as usable.
    """
    if not sys.executable or getattr(sys, "frozen", False):
        return True  # There is no interpreter to ask: a frozen application would start itself again.
    script = _PROBE.format(dtype=str(dtype).removeprefix("torch."))
    try:
        # -P: a module in the current folder must not stand in for one that torch imports.
        ended = subprocess.run(
            [sys.executable, "-P", "-c", script], stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )
    except (OSError, subprocess.TimeoutExpired):
        return True
    return ended.returncode in (0, _PYTHON_ERROR)
