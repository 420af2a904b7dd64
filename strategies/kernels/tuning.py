"""The plan by which attention runs: into how many parts keys are split, by a rule, and in which tile, by measurement.

A tile is measured on drawn inputs, whatever the batch that comes first, so that no later batch has to live with
another's: on many queries, or, for keys that are split, on as few as keep the device busy then. So which plan a call
has depends on its own shape alone. What was measured is kept on disk, with Triton's own cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
from torch import Tensor
from triton.runtime import driver

from strategies.components.quantised import KV, stored
from strategies.kernels.attention_kernel import INTERPRETED, attention
from strategies.kernels.launch import Operands, Plan, attend_in_parts, bucket, merge_parts, room_for_parts
from strategies.kernels.rotary import rotate
from strategies.kernels.tiles import WIDE_VALUES, tile, tiles_for
from strategies.models.precision import TF32_CAPABILITY

TUNING_QUERIES = 65_536
"""The queries with which tiles are measured: 16 targets at 1024 px, which is almost four rounds of an H100's tiles."""

LEAST_KEYS = 512
"""The fewest keys that a part is made of: with fewer, merging the parts would take as long as they save."""
MOST_PARTS = 8
COMPILER_FAILED = "PassManager::run failed"
"""The words of Triton's error where it does not get a kernel through its own steps."""
TENSORS = ("query", "cos", "sin", "keys", "values", "weight", "bias", "residual", "key_scales", "value_scales")
"""Of `Operands`, by the names that the kernel's arguments have, too."""
SPECIALISED_CAPABILITIES = (9, 10)
"""The compute capabilities, by their first number, for which Triton specialises warps. It fails to for 12."""
SPECIALISED_CAPABILITIES_OF_8_BITS = (9,)
"""Those of them where it does so for keys and values in 8 bits without spilling."""
TMA_BYTES = 16
"""To what the tensor memory accelerator wants addresses aligned. Steps are: the narrowest rows have 16 bytes."""


def plan_for(of: Operands) -> Plan:
    """Return the plan for these operands; the first call for their dtypes, widths and number of keys measures tiles."""
    kernel = tuner_for(of)
    rows = max(one.kwargs["block_q"] for one in kernel.configs)
    parts = parts_for(
        programs=triton.cdiv(of.queries, rows) * of.groups, keys=of.count, processors=_processors(of.query.device)
    )
    if len(kernel.configs) == 1:
        return Plan(tile=kernel.configs[0], parts=parts)
    queries = TUNING_QUERIES if parts == 1 else rows * (_processors(of.query.device) // parts)
    dtypes = of.query.dtype, of.bias.dtype, of.residual.dtype
    tile = _fastest(kernel, of.query.device, dtypes, of.kv, of.widths, queries, bucket(of.count), parts)
    return Plan(tile=tile, parts=parts)


def tuner_for(of: Operands) -> triton.runtime.Autotuner:
    """Return the kernel with all tiles that these operands may take."""
    wide = of.widths[1] >= WIDE_VALUES
    tf32 = _capability(of.query.device) >= TF32_CAPABILITY
    return tuner(of.query.element_size(), wide=wide, descriptors=_takes_descriptors(of), tf32=tf32)


def parts_for(*, programs: int, keys: int, processors: int) -> int:
    """Return a power of two of parts by which programs that have a query's keys alone keep all processors busy."""
    room = min(processors // programs, keys // LEAST_KEYS, MOST_PARTS)
    return 1 << (room.bit_length() - 1) if room > 1 else 1


@functools.cache
def _fastest(
    kernel: triton.runtime.Autotuner,
    device: torch.device,
    dtypes: tuple[torch.dtype, torch.dtype, torch.dtype],
    kv: KV,
    widths: tuple[int, int, int],
    queries: int,
    count: int,
    parts: int,
) -> triton.Config:
    """Have the tuner choose a tile, once a process, for inputs of these dtypes, widths and numbers."""
    of_products, of_bias, of_residual = dtypes
    width, value_width, columns = widths
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int, dtype: torch.dtype = of_products) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device).to(dtype)

    keys, values = (stored(normal(1, count, each), kv) for each in (width, value_width))
    angles = normal(max(1, queries // 16), width // 2, dtype=torch.float32)
    drawn = Operands(
        query=normal(1, queries, width),
        cos=angles.cos(),
        sin=angles.sin(),
        keys=keys.values,
        values=values.values,
        weight=normal(columns, value_width),
        bias=normal(columns, dtype=of_bias),
        residual=normal(1, queries, columns, dtype=of_residual),
        scale=width**-0.5,
        key_scales=keys.scales,
        value_scales=values.scales,
    )
    out = torch.empty_like(drawn.residual)
    attend_in_parts(kernel, drawn, out, room_for_parts(drawn, parts), parts=parts)
    return kernel.best_config


def tuned(tiles: tuple[triton.Config, ...]) -> triton.runtime.Autotuner:
    """Return the kernel with the fastest of these tiles.

    They are measured anew for each pair of widths, each power of two of keys and each number of parts, but not for each
    number of queries: then a batch of another size could take another tile, and round differently.
    """
    key = ["width", "value_width", "columns", "count_bucket", "parts"]
    return triton.autotune(
        list(tiles), key=key, cache_results=True, pre_hook=_run_beside, do_bench=_seconds_where_it_compiles
    )(attention)


def _seconds_where_it_compiles(call: Callable[[], None], quantiles: Sequence[float]) -> Sequence[float]:
    """Measure a tile as the tuner does by itself, which ends where a Triton to come fails to compile one."""
    try:
        measured: Sequence[float] = driver.active.get_benchmarker()(call, quantiles=quantiles)
    except RuntimeError as error:
        if COMPILER_FAILED not in str(error):
            raise
        return [math.inf for _ in quantiles]
    return measured


def _run_beside(arguments: dict[str, Any], reset_only: bool = False) -> None:
    """Have the tuner measure a specialised tile together with the kernels that it needs besides."""
    if reset_only or arguments["loop"] != "specialised":
        return
    of = Operands(scale=1.0, **{name: arguments[name] for name in TENSORS})
    rotate(of.query, of.cos, of.sin)
    found = arguments["peaks"], arguments["totals"], arguments["means"]
    merge_parts(of, arguments["out"], found, block_columns=arguments["block_columns"], precision=arguments["precision"])


@functools.cache
def tuner(element_bytes: int, *, wide: bool, descriptors: bool, tf32: bool) -> triton.runtime.Autotuner:
    """Return the kernel for elements of so many bytes and values that are wide or not; see `tiles_for`."""
    if INTERPRETED:  # nothing can be measured
        return tuned((tile(64, 32, 32, 4, 1, loop="ahead" if element_bytes == 2 else "plain"),))
    return tuned(tiles_for(element_bytes, WIDE_VALUES if wide else 0, descriptors=descriptors, tf32=tf32))


@functools.cache
def _processors(device: torch.device) -> int:
    """Return the device's multiprocessors; 1 for a CPU, which runs one program at a time."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1


@functools.cache
def _capability(device: torch.device) -> tuple[int, int]:
    """Return the device's compute capability; (0, 0) for a CPU."""
    return torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)


def _takes_descriptors(of: Operands) -> bool:
    """Return whether specialised tiles can run: Triton knows them for the chip, and TMA takes the addresses."""
    aligned = all(x.data_ptr() % TMA_BYTES == 0 for x in (of.keys, of.values))
    return aligned and specialises(_capability(of.query.device)[0], of.kv)


def specialises(capability: int, kv: KV) -> bool:
    """Return whether there are specialised tiles for a compute capability's first number and keys of so many bits."""
    return capability in (SPECIALISED_CAPABILITIES if kv == "own" else SPECIALISED_CAPABILITIES_OF_8_BITS)
