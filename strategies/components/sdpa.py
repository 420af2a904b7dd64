"""The choice of torch's attention kernels by name, and counts of those that really ran.

torch's `scaled_dot_product_attention` has several backends. ``flash``, ``efficient`` and ``cudnn`` go through the keys
block by block; ``math`` makes the full matrix of scores. A CPU has ``flash`` and ``math``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal, get_args

import torch
from torch._C._profiler import _ExperimentalConfig
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from strategies.errors import UnavailableError, one_of

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "math": SDPBackend.MATH,
}
Sdpa = Literal["auto", "flash", "cudnn", "efficient", "math"]
CHOICES: tuple[Sdpa, ...] = get_args(Sdpa)
"""``auto`` leaves it to torch, which takes the first backend that knows device, dtype and shape."""

ON_CPU = ("auto", "flash", "math")
REFUSALS = (
    *("No available kernel", "No viable backend"),
    *("No valid execution plans built", "No execution plans support the graph"),
)
"""Words of torch's message where no backend that it may use takes the inputs, on any device, and of cuDNN's own, which
finds out only while it plans."""

OPERATORS = {
    "aten::_scaled_dot_product_flash_attention": "flash",
    "aten::_scaled_dot_product_flash_attention_for_cpu": "flash",
    "aten::_scaled_dot_product_cudnn_attention": "cudnn",
    "aten::_scaled_dot_product_efficient_attention": "efficient",
    "aten::_scaled_dot_product_attention_math": "math",
}


def check_choice(sdpa: str, device: torch.device) -> None:
    """Raise UserError where there is no such choice, UnavailableError where this kind of device does not have it."""
    one_of("sdpa", sdpa, CHOICES)
    if device.type == "cpu" and sdpa not in ON_CPU:
        raise UnavailableError(
            f"sdpa={sdpa} needs a CUDA GPU, and the model is on {device}: on a CPU choose one of {', '.join(ON_CPU)}"
        )


def attention_by(sdpa: str) -> AbstractContextManager[None]:
    """Return a context in which torch uses that backend and no other, also in what torch.compile compiles there."""
    context: AbstractContextManager[None] = nullcontext() if sdpa == "auto" else sdpa_kernel(BACKENDS[sdpa])
    return context


@contextmanager
def explain_refusals(sdpa: str, *, dtype: str, device: torch.device) -> Iterator[None]:
    """Turn torch's refusal of the chosen backend into an UnavailableError of one sentence."""
    try:
        yield
    except RuntimeError as error:
        if sdpa == "auto" or not any(words in str(error) for words in REFUSALS):
            raise
        raise UnavailableError(
            f"sdpa={sdpa} does not take this model's attention in {dtype} on {device}: choose another backend or "
            "dtype, or sdpa=auto"
        ) from error


@contextmanager
def observed() -> Iterator[Counter[str]]:
    """Count how often each backend runs within, in any thread; the counter is filled on leaving.

    The profiler sees operators that torch dispatches. Of compiled code it sees all backends but ``math``, which the
    compiler takes apart and builds kernels of its own from; of CUDA graphs it sees what is captured, not what is
    replayed.
    """
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # Otherwise the profiler reports on stderr that it starts and stops.
    counts: Counter[str] = Counter()
    every_thread = _ExperimentalConfig(profile_all_threads=True)
    with profile(activities=[ProfilerActivity.CPU], experimental_config=every_thread) as profiled:
        yield counts
    # The profiler's own list of events would take seconds to build, as a tree with times.
    names = (event.name() for event in profiled.profiler.kineto_results.events())
    counts.update(OPERATORS[name] for name in names if name in OPERATORS)
