"""``python -m harness.kernels [--help]``: the fused cross-attention beside the library's, on SAM2's shapes.

Each kernel does the whole step, from the query before its rotary encoding to the residual added. First each is
checked against float64 on inputs drawn anew, its outputs poisoned; then all take turns, and every sample is kept. Needs
a CUDA GPU; with ``TRITON_INTERPRET=1`` in the environment small shapes run on a CPU, to try it.

Exit codes: 0 measured; 1 some kernel is wrong; 2 bad input; 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import secrets
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from harness.guard import guarded
from harness.measure.cost import measure_matrix_rate
from harness.measure.timing import Clock, device_clock
from harness.store.atomic import write_whole
from harness.store.environment import describe_environment, device_name
from strategies.components.memory_attention import rotate
from strategies.components.sdpa import BACKENDS
from strategies.errors import UnavailableError
from strategies.models.precision import DTYPES

POINTER_TOKENS = 4
"""The pointer tokens of each memory frame: the hidden size of 256 in tokens of 64."""
CHECKED_QUERIES = 512
"""The most queries, spread over all, that are compared with float64: the scores of all would not fit into memory."""

Step = Callable[[], Tensor]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The numbers of memory frames, objects, targets and an image's tokens; the widths of keys and of raw memory."""

    frames: int
    objects: int
    targets: int
    tokens: int
    width: int
    memory: int

    @property
    def queries(self) -> int:
        return self.targets * self.tokens

    @property
    def keys(self) -> int:
        return self.frames * (self.tokens + POINTER_TOKENS)

    def flops(self, values: int) -> int:
        """Count the FLOPs of attention with values that wide and of the output's product; a multiply-add is 2."""
        return 2 * self.objects * self.queries * (self.keys * (self.width + values) + values * self.width)


@dataclass(frozen=True, kw_only=True, eq=False)
class Inputs:
    """query ``[O, N, D]``; cos, sin ``[L, D]``; keys ``[O, M, D]``; raw memory ``[O, M, V]``; residual ``[O, N, D]``.

    project ``[D, V]``: from raw memory to values; out ``[D, D]``: the output's product.
    """

    query: Tensor
    cos: Tensor
    sin: Tensor
    keys: Tensor
    memory: Tensor
    project: Tensor
    out: Tensor
    bias: Tensor
    residual: Tensor

    @property
    def scale(self) -> float:
        return float(self.keys.shape[-1]) ** -0.5


@dataclass(frozen=True, kw_only=True)
class Result:
    """How wrong and how fast one kernel is on one shape.

    error: the worst row's distance from float64, relative to its norm. seconds: samples in order; empty with the
    reason where the kernel does not take the shape.
    """

    name: str
    shape: Shape
    error: float | None
    seconds: list[float]
    flops: int
    reason: str | None = None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns an exit code that the file's docstring lists."""
    return guarded(lambda: _run(_options(arguments)))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m harness.kernels", description="The fused cross-attention beside the library's."
    )
    sizes = {
        "objects": (1, "objects, each with a bank"),
        "targets": (8, "targets of a batch"),
        "tokens": (4096, "tokens of an image, 4096 at 1024 px"),
        "width": (256, "of queries and keys, a power of two"),
        "memory": (64, "of the raw memory, a power of two"),
        "rounds": (30, "samples of each kernel"),
    }
    for name, (default, text) in sizes.items():
        parser.add_argument(f"--{name}", type=_positive, default=default, metavar="N", help=f"{text} ({default})")
    parser.add_argument(
        "--frames", nargs="+", type=_positive, default=[1, 3, 7], metavar="N", help="memory frames (1 3 7)"
    )
    parser.add_argument("--dtype", default="bf16", choices=["fp32", "bf16", "fp16"])
    parser.add_argument("--seed", type=int, default=None, help="of the inputs (default: drawn anew)")
    parser.add_argument("--out", type=Path, default=Path("results/kernels.json"), help="where raw samples go")
    return parser.parse_args(arguments)


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a whole number from 1 on")
    return int(word)


def _run(options: argparse.Namespace) -> int:
    device = _device()
    clock = device_clock(device)
    seed = secrets.randbits(32) if options.seed is None else options.seed
    sizes = {name: getattr(options, name) for name in ("objects", "targets", "tokens", "width", "memory")}
    results: list[Result] = []
    for frames in options.frames:
        shape = Shape(frames=frames, **sizes)
        inputs = draw(shape, DTYPES[options.dtype], device, seed=seed)
        results += compare(shape, inputs, rounds=options.rounds, clock=clock)
    rate = measure_matrix_rate(device, options.dtype, clock)
    wrong = [one for one in results if one.error is not None and not one.error <= tolerance(options.dtype)]
    content = {
        "dtype": options.dtype,
        "seed": seed,
        "matrix_flop_per_s": rate,
        "environment": describe_environment(device),
        "results": [asdict(one) for one in results],
    }
    write_whole(options.out, json.dumps(content, indent=1) + "\n")
    _print_table(results, rate, title=f"cross-attention on {device_name(device)}, {options.dtype}")
    print(f"raw samples: {options.out}")
    for one in wrong:
        print(f"{one.name} at {one.shape.frames} frames is wrong: {one.error:.1e} of a row's norm", file=sys.stderr)
    return int(bool(wrong))


def _device() -> torch.device:
    if importlib.util.find_spec("triton") is not None:
        if os.environ.get("TRITON_INTERPRET") == "1":
            return torch.device("cpu")
        if torch.cuda.is_available():
            return torch.device("cuda")
    raise UnavailableError(
        "harness.kernels needs a CUDA GPU and the package triton; set TRITON_INTERPRET=1 to try small shapes on a CPU"
    )


def tolerance(dtype: str) -> float:
    """Return the largest error that a row may have, relative to its norm.

    Query, shares and attended values are each rounded once (`tests/strategies/test_kernels.py` has the same for the
    kernel alone), which makes 2 steps of the dtype; the library's projected values make one more.
    """
    return 3 * torch.finfo(DTYPES[dtype]).eps if dtype != "fp32" else 64 * torch.finfo(torch.float32).eps


def draw(shape: Shape, dtype: torch.dtype, device: torch.device, *, seed: int) -> Inputs:
    """Draw normal inputs, with scores of standard deviation 2 so that shares differ."""
    generator = torch.Generator(device).manual_seed(seed)

    def normal(*sizes: int, std: float = 1.0, of: torch.dtype = dtype) -> Tensor:
        return (std * torch.randn(*sizes, generator=generator, device=device)).to(of)

    angles = normal(shape.tokens, shape.width // 2, std=3.0, of=torch.float32).repeat_interleave(2, dim=-1)
    rows = (shape.objects, shape.queries, shape.width)
    return Inputs(
        query=normal(*rows, std=2.0),
        cos=angles.cos(),
        sin=angles.sin(),
        keys=normal(shape.objects, shape.keys, shape.width),
        memory=normal(shape.objects, shape.keys, shape.memory),
        project=normal(shape.width, shape.memory, std=shape.memory**-0.5),
        out=normal(shape.width, shape.width, std=shape.width**-0.5),
        bias=normal(shape.width, of=torch.float32),
        residual=normal(*rows, of=torch.float32),
    )


def compare(shape: Shape, inputs: Inputs, *, rounds: int, clock: Clock) -> list[Result]:
    """Check every kernel, then time those that take the shape, one sample of each a round, in turns."""
    steps = {"fused": (_fused(inputs), shape.memory)}
    for name, backend in BACKENDS.items():
        steps[f"{name}, projected values"] = (_library(inputs, backend, raw=False), shape.width)
        steps[f"{name}, raw memory"] = (_library(inputs, backend, raw=True), shape.memory)
    exact = _exact(inputs)
    errors: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name, (step, _) in steps.items():
        try:
            # The warnings say in many lines why a backend refuses.
            with _poisoned(), warnings.catch_warnings(action="ignore"):
                errors[name] = _error(step(), exact, inputs)
        except (RuntimeError, torch.OutOfMemoryError) as error:
            refused[name] = (str(error).strip() or type(error).__name__).splitlines()[0]
    names = list(errors)
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(1 + rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = clock()
            steps[name][0]()
            seconds[name].append(clock() - start)
    return [
        Result(
            name=name,
            shape=shape,
            error=errors.get(name),
            seconds=seconds[name][1:],  # The first sample warms up.
            flops=shape.flops(values),
            reason=refused.get(name),
        )
        for name, (_, values) in steps.items()
    ]


def _fused(inputs: Inputs) -> Step:
    from strategies.kernels.attention import attend  # This needs triton, which not all machines have.

    weight = (inputs.out.double() @ inputs.project.double()).to(inputs.out.dtype)
    tables = inputs.cos[:, ::2].contiguous(), inputs.sin[:, ::2].contiguous()
    return lambda: attend(
        inputs.query, *tables, inputs.keys, inputs.memory, weight, inputs.bias, inputs.residual, scale=inputs.scale
    )


def _library(inputs: Inputs, backend: SDPBackend, *, raw: bool) -> Step:
    """Return the library's step; the bank's values are projected once, outside it, as `direct` does."""
    values = inputs.memory if raw else inputs.memory @ inputs.project.mT
    weight = inputs.out @ inputs.project if raw else inputs.out
    targets = inputs.query.shape[1] // inputs.cos.shape[0]
    cos, sin = inputs.cos.repeat(targets, 1), inputs.sin.repeat(targets, 1)

    def step() -> Tensor:
        query = rotate(inputs.query, cos, sin)
        query, key, value = (part.unsqueeze(1) for part in (query, inputs.keys, values))  # There is one head.
        with sdpa_kernel(backend):
            attended = F.scaled_dot_product_attention(query, key, value, scale=inputs.scale).squeeze(1)
        return inputs.residual + (attended @ weight.mT + inputs.bias)

    return step


def _exact(inputs: Inputs) -> Tensor:
    """Return the exact output of some queries, float64 ``[O, Q, D]``, without the residual."""
    chosen = _checked(inputs)
    rows = chosen % inputs.cos.shape[0]
    cos, sin = inputs.cos[rows, ::2].double(), inputs.sin[rows, ::2].double()
    even, odd = inputs.query[:, chosen].double().unflatten(-1, (-1, 2)).unbind(-1)
    query = torch.stack((even * cos - odd * sin, odd * cos + even * sin), dim=-1).flatten(-2)
    shares = (inputs.scale * query @ inputs.keys.double().mT).softmax(dim=-1)
    attended = shares @ inputs.memory.double() @ inputs.project.double().mT
    return attended @ inputs.out.double().mT + inputs.bias.double()


def _checked(inputs: Inputs) -> Tensor:
    queries = inputs.query.shape[1]
    spread = torch.linspace(0, queries - 1, min(queries, CHECKED_QUERIES), device=inputs.query.device)
    return spread.round().long()


def _error(out: Tensor, exact: Tensor, inputs: Inputs) -> float:
    """Return the error of ``out``; NaN where any element was not written."""
    if not torch.isfinite(out).all():
        return float("nan")
    chosen = _checked(inputs)
    added = out[:, chosen].double() - inputs.residual[:, chosen].double()
    return float(((added - exact).norm(dim=-1) / exact.norm(dim=-1)).max())


@contextmanager
def _poisoned() -> Iterator[None]:
    """Fill new tensors with NaN, so that elements that are never written show."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])


def _print_table(results: Sequence[Result], rate: float, *, title: str) -> None:
    table = Table("frames", "step", "ms", "TFLOP/s", "of matrix rate", "error", title=title)
    for one in results:
        if one.seconds:
            time = median(one.seconds)
            speed = one.flops / time
            cells = f"{1e3 * time:.3f}", f"{speed / 1e12:.3g}", f"{speed / rate:.1%}", f"{one.error:.1e}"
            table.add_row(str(one.shape.frames), one.name, *cells)
    Console().print(table)
    refused = dict.fromkeys(one.name for one in results if one.reason is not None)
    if refused:
        print(f"do not take the shape: {'; '.join(refused)}")
