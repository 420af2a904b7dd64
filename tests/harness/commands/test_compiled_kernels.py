"""``python -m harness.kernels --compile-only``: its table, with a compiler that answers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("triton")

from harness.commands.kernels import main
from strategies.kernels import ahead_of_time
from strategies.kernels.ahead_of_time import CHIPS, Chip, Compiled
from strategies.kernels.tiles import HALF, HALF_SPECIALISED, HALF_WIDE, SINGLE, SINGLE_TF32
from strategies.kernels.tuning import specialises


def compiled_kernels(monkeypatch: pytest.MonkeyPatch, out: Path, *, shared_bytes: int) -> tuple[int, dict[str, Any]]:
    def answer(tile: Any, chip: Chip, dtype: Any, *, width: int, value_width: int, kv: str) -> Compiled:
        taken = {"shared_bytes": shared_bytes, "warps": 8, "registers": 200, "stack_bytes": 0}
        return Compiled(**taken, products=1, copies=1, bulk_copies=0)

    monkeypatch.setattr(ahead_of_time, "compiled", answer)
    code = main(["--compile-only", "--out", str(out)])
    return code, json.loads(out.read_text(encoding="utf-8"))


def test_every_tile_is_compiled_for_every_chip_dtype_and_width_of_values(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    code, stored = compiled_kernels(monkeypatch, tmp_path / "compiled.json", shared_bytes=1024)
    assert code == 0
    everywhere = 2 * len(HALF) + 2 * len(HALF_WIDE) + 2 * len(SINGLE) + len(SINGLE_TF32)
    by_descriptors = 2 * len(HALF_SPECIALISED) * sum(specialises(chip.capability // 10, "own") for chip in CHIPS)
    own = [row for row in stored["tiles"] if row["kv"] == "own"]
    assert len(own) == len(CHIPS) * everywhere + by_descriptors
    found = {(row["chip"], row["dtype"], row["values"]) for row in stored["tiles"]}
    assert found == {
        (chip.name, dtype, values) for chip in CHIPS for dtype in ("bf16", "fp16", "fp32") for values in (64, 256)
    }
    assert {kv: {row["chip"] for row in stored["tiles"] if row["kv"] == kv} for kv in ("int8", "fp8")} == {
        "int8": {chip.name for chip in CHIPS},
        "fp8": {chip.name for chip in CHIPS if chip.capability >= 89},
    }
    assert {row["values"] for row in stored["tiles"] if row["kv"] != "own"} == {64}, "those of raw memory alone"
    assert all(row["fits"] for row in stored["tiles"])


def test_a_chip_that_no_tile_fits_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, stored = compiled_kernels(monkeypatch, tmp_path / "compiled.json", shared_bytes=100 << 10)
    assert code == 1
    assert {row["chip"] for row in stored["tiles"] if not row["fits"]} == {"sm_89"}
    assert "no tile fits sm_89 in bf16 with values of 256" in capsys.readouterr().out
