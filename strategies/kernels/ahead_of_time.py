"""The attention kernel compiled for GPUs that need not be here, and what the compiler says of the result.

Triton brings NVIDIA's assembler with it, so shared memory, registers, spills and the instructions of a tile can be
known on any machine. How fast it is can't.
"""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from strategies.components.quantised import KV
from strategies.kernels.attention_kernel import attention, merge
from strategies.kernels.launch import MERGED_QUERIES

WARP = 32


@dataclass(frozen=True, kw_only=True)
class Chip:
    """A generation of GPUs.

    capability: its compute capability, times 10. shared_bytes: the most shared memory of one program. product: the
    instruction of its matrix units, as PTX spells it.
    """

    name: str
    capability: int
    shared_bytes: int
    product: str


CHIPS = (
    Chip(name="sm_80", capability=80, shared_bytes=163 << 10, product="mma.sync"),
    Chip(name="sm_89", capability=89, shared_bytes=99 << 10, product="mma.sync"),
    Chip(name="sm_90", capability=90, shared_bytes=227 << 10, product="wgmma.mma_async"),
    Chip(name="sm_100", capability=100, shared_bytes=227 << 10, product="tcgen05.mma"),
)
"""A100, L40 and RTX 4090, H100, B200; the limits are those of NVIDIA's CUDA programming guide."""

TYPES = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}
NARROW_TYPES = {"int8": "i8", "fp8": "fp8e4nv"}
MULTIPLES_OF_16 = ("query_step", "residual_step", "queries", "table_rows", "count_bucket")
"""The sizes that divide by 16 at 1024 px, which the compiler is told; the number of keys does not."""
FOUND = ("peaks", "totals", "means")
SCALES = ("key_scales", "value_scales")


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """A tile as compiled for a chip.

    warps: of a program, with those that only copy. registers: of a thread. stack_bytes: of a thread, into which
    registers spill. products: the instructions of matrix units in its code. copies: those that copy to shared memory
    while the program goes on. bulk_copies: those of them by descriptors (TMA).
    """

    shared_bytes: int
    warps: int
    registers: int
    stack_bytes: int
    products: int
    copies: int
    bulk_copies: int


def compiled(
    tile: triton.Config,
    chip: Chip,
    dtype: torch.dtype,
    *,
    width: int,
    value_width: int,
    split: bool = False,
    kv: KV = "own",
) -> Compiled:
    """Compile a tile for keys and an output of ``width``, values of ``value_width``, and keys in parts or not.

    kv: in how many bits keys and values are; ``own`` for dtype's.
    """
    merged = split or tile.kwargs["loop"] == "specialised"
    constants = {"width": width, "value_width": value_width, "columns": width, "split": split, **tile.kwargs}
    constants |= {} if split else {"parts": 1}  # Triton makes constants of 1 and of None.
    constants |= {} if merged else dict.fromkeys(FOUND)
    constants |= dict.fromkeys(SCALES) if kv == "own" else {}
    options = {"num_warps": tile.num_warps, "num_stages": tile.num_stages}
    return _compile(attention, dtype, constants, chip, options, kv=kv)


def compiled_merge(chip: Chip, dtype: torch.dtype, *, width: int, value_width: int) -> Compiled:
    """Compile the kernel that merges parts of the keys, for an output of ``width`` and values of ``value_width``."""
    constants = {"value_width": value_width, "columns": width, "block_q": MERGED_QUERIES, "block_columns": 64}
    return _compile(merge, dtype, constants | {"precision": "ieee"}, chip, {})


def _compile(
    kernel: triton.JITFunction,
    dtype: torch.dtype,
    constants: dict[str, Any],
    chip: Chip,
    options: dict[str, int],
    *,
    kv: KV = "own",
) -> Compiled:
    types = dict.fromkeys(("query", "weight"), f"*{TYPES[dtype]}")
    types |= dict.fromkeys(("keys", "values"), f"*{NARROW_TYPES.get(kv, TYPES[dtype])}")
    types |= dict.fromkeys(("cos", "sin", "bias", "residual", "out", *FOUND, *SCALES), "*fp32")
    types |= {**dict.fromkeys((*MULTIPLES_OF_16, "count", "parts"), "i32"), "scale": "fp32"}
    types |= dict.fromkeys(constants, "constexpr")
    names = kernel.arg_names
    aligned = [name for name in names if types[name].startswith("*") or name in MULTIPLES_OF_16]
    source = ASTSource(
        kernel,
        {name: types[name] for name in names},
        {(names.index(name),): value for name, value in constants.items()},
        {(names.index(name),): [["tt.divisibility", 16]] for name in aligned},
    )
    made = triton.compile(source, target=GPUTarget("cuda", chip.capability, WARP), options=options)
    code = made.asm["ptx"]
    used = _resources(made.asm["cubin"])
    bulk_copies = code.count("cp.async.bulk.tensor")
    return Compiled(
        shared_bytes=made.metadata.shared,
        warps=made.metadata.num_warps,
        registers=used["REG"],
        stack_bytes=used["STACK"],
        products=code.count(chip.product),
        copies=code.count("cp.async.cg") + code.count("cp.async.ca") + bulk_copies,
        bulk_copies=bulk_copies,
    )


def _resources(cubin: bytes) -> dict[str, int]:
    """Return what a thread uses, as the assembler noted it in the binary: ``REG:255 STACK:0 SHARED:1024 ...``."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        dump = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    words = (word.partition(":") for word in said.split() if word.startswith(("REG:", "STACK:")))
    return {name: int(value) for name, _, value in words}
