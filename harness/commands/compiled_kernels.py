"""Every tile of the fused attention compiled for GPUs of four generations, none of which is needed.

It is what ``python -m harness.kernels --compile-only`` does.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from harness.store.atomic import write_whole
from strategies.components.quantised import FP8_CAPABILITY, KV, KVS
from strategies.errors import UnavailableError
from strategies.models.precision import DTYPES

COMPILED_DTYPES = ("bf16", "fp16", "fp32")
OF_A_CALL = ("chip", "dtype", "values", "kv")
"""What a call has before a tile is chosen for it."""


def compile_only(*, width: int, memory: int, out: Path) -> int:
    """Compile every tile for values as wide as the memory and as the keys, and print and store what it takes.

    Keys and values in 8 bits are those of raw memory, as `triton` reads no others.
    """
    if importlib.util.find_spec("triton") is None:
        raise UnavailableError("harness.kernels --compile-only needs the package triton: install it, on Linux")
    rows = [
        row
        for values in dict.fromkeys((memory, width))
        for kv in (KVS if values == memory else ("own",))
        for row in _compiled_rows(width, values, kv)
    ]
    write_whole(out, json.dumps({"width": width, "tiles": rows}, indent=1) + "\n")
    _print_table(rows)
    print(f"all figures: {out}")
    served = {tuple(row[name] for name in OF_A_CALL) for row in rows if row["fits"]}
    left = {tuple(row[name] for name in OF_A_CALL) for row in rows} - served
    for chip, dtype, values, kv in sorted(left):
        print(f"no tile fits {chip} in {dtype} with values of {values}" + (f" and kv={kv}" if kv != "own" else ""))
    return int(bool(left))


def _compiled_rows(width: int, values: int, kv: KV) -> list[dict[str, Any]]:
    from strategies.kernels.ahead_of_time import CHIPS, compiled  # These need triton, which not all machines have.
    from strategies.kernels.tiles import name_of, tiles_for
    from strategies.kernels.tuning import specialises

    rows = []
    for chip in CHIPS:
        if kv == "fp8" and chip.capability < FP8_CAPABILITY[0] * 10 + FP8_CAPABILITY[1]:
            continue
        for dtype in COMPILED_DTYPES:
            specialised = specialises(chip.capability // 10, kv)
            for tile in tiles_for(DTYPES[dtype].itemsize, values, descriptors=specialised, tf32=True):
                found = compiled(tile, chip, DTYPES[dtype], width=width, value_width=values, kv=kv)
                described = {"chip": chip.name, "dtype": dtype, "values": values, "kv": kv, "tile": name_of(tile)}
                rows.append(described | asdict(found) | {"fits": found.shared_bytes <= chip.shared_bytes})
                print(" ".join(map(str, described.values())), file=sys.stderr)  # All of it takes minutes.
    return rows


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    table = Table(
        *("chip", "dtype", "values", "kv", "tile", "shared KB", "warps", "registers", "spilled bytes"),
        *("matrix", "copies", "by TMA", "fits"),
    )
    for row in rows:
        table.add_row(
            *(str(row[name]) for name in (*OF_A_CALL, "tile")),
            f"{row['shared_bytes'] / 1024:.0f}",
            *(str(row[name]) for name in ("warps", "registers", "stack_bytes", "products", "copies", "bulk_copies")),
            "yes" if row["fits"] else "no",
        )
    Console().print(table)
