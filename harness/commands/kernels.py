"""``python -m harness.kernels [--help]``: the fused cross-attention beside the library's, on SAM2's shapes.

Each kernel does the whole step, from the query before its rotary encoding to the residual added. First each is
checked against float64 on inputs drawn anew, its outputs poisoned (one that reads keys and memory in 8 bits, ``kv``,
by what these stand for); then all take turns, and every sample is kept. Needs
a CUDA GPU; with ``TRITON_INTERPRET=1`` in the environment small shapes run on a CPU, to try it. ``--compile-only``
runs nothing: it compiles every tile for four generations of GPUs, on any machine, and says what each takes.

Exit codes: 0 measured, or compiled; 1 some kernel is wrong, or a chip has no tile that fits; 2 bad input; 130
interrupted.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import secrets
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from rich.console import Console
from rich.table import Table

from harness.commands.compiled_kernels import compile_only
from harness.commands.kernel_steps import (
    Inputs,
    Shape,
    Step,
    draw,
    error_of,
    exact,
    fused,
    fused_name,
    fused_plans,
    library,
    our_rotary,
    poisoned,
    rounded,
    tolerance,
    torch_rotary,
)
from harness.guard import guarded
from harness.measure.cost import measure_matrix_rate
from harness.measure.samples import calls_of_a_sample, seconds_of
from harness.measure.timing import Clock, device_clock
from harness.options.devices import device_name
from harness.store.atomic import write_whole
from harness.store.environment import describe_environment
from strategies.components.quantised import KV, KVS
from strategies.components.sdpa import BACKENDS
from strategies.errors import UnavailableError
from strategies.models.precision import DTYPES


@dataclass(frozen=True, kw_only=True)
class Result:
    """How wrong and how fast one kernel is on one shape.

    error: the worst row's distance from float64, relative to its norm. seconds: of one call, samples in order, each the
    mean of so many ``calls``; empty with the reason where the kernel does not take the shape. plan: the tile and parts
    of the fused kernel, where it has a choice.
    """

    name: str
    shape: Shape
    error: float | None
    seconds: list[float]
    calls: int | None
    flops: int
    reason: str | None = None
    plan: str | None = None


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
    parser.add_argument(
        "--compile-only", action="store_true", help="compile every tile for several GPUs, none of which is needed"
    )
    parser.add_argument(
        "--out",
        type=Path,
        help="where raw samples go (results/kernels.json), or what was compiled (results/kernels-compiled.json)",
    )
    return parser.parse_args(arguments)


def _positive(word: str) -> int:
    if not word.isdecimal() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"{word} is not a whole number from 1 on")
    return int(word)


def _run(options: argparse.Namespace) -> int:
    if options.compile_only:
        compiled = options.out or Path("results/kernels-compiled.json")
        return compile_only(width=options.width, memory=options.memory, out=compiled)
    out = options.out or Path("results/kernels.json")
    device = kernel_device()
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
    write_whole(out, json.dumps(content, indent=1) + "\n")
    _print_table(results, rate, title=f"cross-attention on {device_name(device)}, {options.dtype}")
    print(f"raw samples: {out}")
    for one in wrong:
        print(f"{one.name} at {one.shape.frames} frames is wrong: {one.error:.1e} of a row's norm", file=sys.stderr)
    return int(bool(wrong))


def kernel_device() -> torch.device:
    """Return the device that kernels run on. Raises UnavailableError where there is none."""
    if importlib.util.find_spec("triton") is not None:
        if os.environ.get("TRITON_INTERPRET") == "1":
            return torch.device("cpu")
        if torch.cuda.is_available():
            return torch.device("cuda")
    raise UnavailableError(
        "harness.kernels needs a CUDA GPU and the package triton; set TRITON_INTERPRET=1 to try small shapes on a CPU"
    )


def compare(shape: Shape, inputs: Inputs, *, rounds: int, clock: Clock) -> list[Result]:
    """Check every kernel, then time those that take the shape, one sample of each a round, in turns."""
    steps = _steps(shape, inputs)
    right = {kv: exact(rounded(inputs, kv)) for kv in KVS}
    errors: dict[str, float] = {}
    refused: dict[str, str] = {}
    for name, step in steps.items():
        try:
            # The warnings say in many lines why a backend refuses.
            with poisoned(), warnings.catch_warnings(action="ignore"):
                errors[name] = error_of(step.run(), right[step.kv], inputs)
        except _refusals() as refusal:
            refused[name] = (str(refusal).strip() or type(refusal).__name__).splitlines()[0]
    names = list(errors)
    calls = {name: calls_of_a_sample(steps[name].run, clock) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            seconds[name].append(seconds_of(steps[name].run, calls[name], clock) / calls[name])
    return [
        Result(
            name=name,
            shape=shape,
            error=errors.get(name),
            seconds=seconds[name],
            calls=calls.get(name),
            flops=shape.flops(step.values),
            reason=refused.get(name),
            plan=step.plan,
        )
        for name, step in steps.items()
    ]


@dataclass(frozen=True, kw_only=True)
class _Step:
    """A step that is compared.

    values: the width of the values that it attends to. kv: in how many bits its keys and values are, by which it is
    judged. plan: that of the fused kernel, where it has a choice.
    """

    run: Step
    values: int
    kv: KV = "own"
    plan: str | None = None


def _steps(shape: Shape, inputs: Inputs) -> dict[str, _Step]:
    """Return each step by its name."""
    steps: dict[str, _Step] = {}
    for kv in KVS:
        try:
            plans = fused_plans(inputs, kv)
        except _refusals():  # The step is refused for the same reason, and says it.
            plans = {fused_name(kv): None}
        for name, plan in plans.items():
            step = fused(inputs, kv=kv, plan=plan)
            steps[name] = _Step(run=step, values=shape.memory, kv=kv, plan=None if plan is None else plan.name)
    for suffix, turn in (("", torch_rotary(inputs)), (", our rotary", our_rotary(inputs))):
        for name, backend in BACKENDS.items():
            projected, raw = (library(inputs, backend, turn, raw=raw) for raw in (False, True))
            steps[f"{name}, projected values{suffix}"] = _Step(run=projected, values=shape.width)
            steps[f"{name}, raw memory{suffix}"] = _Step(run=raw, values=shape.memory)
    return steps


def _refusals() -> tuple[type[Exception], ...]:
    """Return what is raised where a kernel does not take a shape or has no room on the chip."""
    if importlib.util.find_spec("triton") is None:
        return RuntimeError, UnavailableError
    from triton import OutOfResources  # This is no RuntimeError.

    return RuntimeError, UnavailableError, OutOfResources


def _print_table(results: Sequence[Result], rate: float, *, title: str) -> None:
    table = Table("frames", "step", "ms", "TFLOP/s", "of matrix rate", "error", title=title)
    for one in results:
        if one.seconds:
            time = median(one.seconds)
            speed = one.flops / time
            cells = f"{1e3 * time:.3f}", f"{speed / 1e12:.3g}", f"{speed / rate:.1%}", f"{one.error:.1e}"
            name = one.name if one.plan is None else f"{one.name} ({one.plan})"
            table.add_row(str(one.shape.frames), name, *cells)
    Console().print(table)
    refused = dict.fromkeys(one.name for one in results if one.reason is not None)
    if refused:
        print(f"do not take the shape: {'; '.join(refused)}")
