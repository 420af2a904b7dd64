"""``python -m harness.kernels``: the fused step beside the library's; its rules without a GPU, and the real command."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness.commands import kernels
from harness.commands.kernel_steps import Inputs, Shape, Step, draw, library, rounded, tolerance, torch_rotary
from harness.commands.kernels import BACKENDS, compare, main
from harness.measure import samples
from harness.measure.samples import SAMPLE_SECONDS
from strategies.components.quantised import KV

ROTARIES = ("", ", our rotary")
SMALL = ("--frames", "1", "2", "--targets", "2", "--tokens", "20", "--width", "64", "--memory", "16", "--rounds", "3")


def by_library(inputs: Inputs, *, kv: KV = "own", plan: object = None) -> Step:
    read = rounded(inputs, kv)
    return library(read, BACKENDS["math"], torch_rotary(read), raw=False)


@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let the command run without Triton, with the library's step in the place of the kernels."""
    monkeypatch.setattr(kernels, "kernel_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(kernels, "fused", by_library)
    monkeypatch.setattr(kernels, "our_rotary", torch_rotary)
    return monkeypatch


@pytest.fixture
def hardly_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sample is of one call, because no time is of interest."""
    monkeypatch.setattr(samples, "SAMPLE_SECONDS", 0.0)


@pytest.mark.slow
def test_every_step_that_takes_the_shape_is_right_and_has_all_samples(
    on_cpu: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "kernels.json"
    assert main([*SMALL, "--dtype", "fp32", "--out", str(out)]) == 0
    stored = json.loads(out.read_text(encoding="utf-8"))
    assert {one["shape"]["frames"] for one in stored["results"]} == {1, 2}
    taken = [one for one in stored["results"] if one["reason"] is None]
    of_library = {f"math, {values}{rotary}" for values in ("projected values", "raw memory") for rotary in ROTARIES}
    assert {"fused", "fused, kv=int8", "fused, kv=fp8", *of_library} <= {one["name"] for one in taken}
    for one in taken:
        assert 0 < one["error"] <= tolerance("fp32")
        assert len(one["seconds"]) == 3
        assert min(one["seconds"]) > 0
    for one in stored["results"]:
        assert one["reason"] is None or (one["seconds"] == [] and one["error"] is None)
    assert stored["matrix_flop_per_s"] > 0
    assert stored["environment"]["packages"]["torch"] == torch.__version__


@pytest.mark.usefixtures("hardly_timed")
def test_inputs_are_drawn_anew_unless_a_seed_is_given(on_cpu: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seeds = []
    for words in ((), (), ("--seed", "7")):
        out = tmp_path / "kernels.json"
        assert main([*SMALL, "--dtype", "fp32", "--out", str(out), *words]) == 0
        seeds.append(json.loads(out.read_text(encoding="utf-8"))["seed"])
    assert seeds[0] != seeds[1]
    assert seeds[2] == 7


@pytest.mark.usefixtures("hardly_timed")
@pytest.mark.parametrize("fault", ["an element is not written", "a key is left out", "no residual"])
def test_a_wrong_step_is_found(
    fault: str, on_cpu: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(inputs: Inputs, **_: object) -> Step:
        right = by_library(inputs)

        def step() -> Tensor:
            out = right()
            if fault == "an element is not written":
                out[0, 3, 5] = torch.empty(1)[0]
            elif fault == "a key is left out":
                out = by_library(Inputs(**vars(inputs) | {"keys": inputs.keys.index_fill(1, torch.tensor(3), 0)}))()
            else:
                out = out - inputs.residual
            return out

        return step

    on_cpu.setattr(kernels, "fused", wrong)
    assert main([*SMALL, "--dtype", "fp32", "--out", str(tmp_path / "kernels.json")]) == 1
    assert "fused at 1 frames is wrong" in capsys.readouterr().err


SHAPE = Shape(frames=1, objects=2, targets=2, tokens=8, width=32, memory=16)


def test_a_sample_is_of_as_many_calls_as_take_five_milliseconds(on_cpu: pytest.MonkeyPatch) -> None:
    """Calls move the clock, and so does each look at it, as a launch and a wait for the device do."""
    now = 0.0
    look, call = 0.00005, 0.0006

    def clock() -> float:
        nonlocal now
        now += look
        return now

    def costly(inputs: Inputs, **options: Any) -> Step:
        right = by_library(inputs, **options)

        def step() -> Tensor:
            nonlocal now
            now += call
            return right()

        return step

    on_cpu.setattr(kernels, "fused", costly)
    on_cpu.setattr(kernels, "BACKENDS", {})
    inputs = draw(SHAPE, torch.float32, torch.device("cpu"), seed=0)
    fused, *_ = compare(SHAPE, inputs, rounds=4, clock=clock)
    assert fused.calls is not None
    assert fused.calls * call >= SAMPLE_SECONDS - look
    assert fused.seconds == pytest.approx([call + look / fused.calls] * 4)


def test_a_kernel_that_has_no_room_on_the_chip_is_refused_and_the_others_are_timed(on_cpu: pytest.MonkeyPatch) -> None:
    resources = pytest.importorskip("triton").OutOfResources

    def too_large(inputs: Inputs, **_: object) -> Step:
        def step() -> Tensor:
            raise resources(262144, 232448, "shared memory")

        return step

    on_cpu.setattr(kernels, "fused", too_large)
    inputs = draw(SHAPE, torch.float32, torch.device("cpu"), seed=0)
    ticks = iter(range(10_000))
    fused, *others = compare(SHAPE, inputs, rounds=2, clock=lambda: float(next(ticks)))
    assert (fused.seconds, fused.calls, fused.error) == ([], None, None)
    assert fused.reason is not None
    assert "shared memory, Required: 262144" in fused.reason
    assert any(one.seconds == [1.0, 1.0] for one in others)


def test_what_the_fused_plan_was_chosen_over_is_timed_beside_it(on_cpu: pytest.MonkeyPatch) -> None:
    plans = {"fused": SimpleNamespace(name="the tile, 4 parts"), "fused, keys in one part": SimpleNamespace(name="it")}
    on_cpu.setattr(kernels, "fused_plans", lambda inputs, kv: plans if kv == "own" else {})
    on_cpu.setattr(kernels, "fused", by_library)
    inputs = draw(SHAPE, torch.float32, torch.device("cpu"), seed=0)
    ticks = iter(range(10_000))
    fused, undivided, *others = compare(SHAPE, inputs, rounds=2, clock=lambda: float(next(ticks)))
    assert (fused.name, fused.plan) == ("fused", "the tile, 4 parts")
    assert (undivided.name, undivided.plan) == ("fused, keys in one part", "it")
    assert fused.seconds
    assert undivided.seconds
    assert {one.plan for one in others} == {None}


def test_flops_count_attention_and_the_outputs_product() -> None:
    shape = Shape(frames=3, objects=2, targets=4, tokens=100, width=256, memory=64)
    assert (shape.queries, shape.keys) == (400, 312)
    assert shape.flops(64) == 2 * 2 * 400 * (312 * (256 + 64) + 64 * 256)


def test_what_is_needed_is_said_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available() or os.environ.get("TRITON_INTERPRET") == "1":
        pytest.skip("this machine has it")
    assert main([]) == 2
    message = capsys.readouterr().err.strip()
    assert "CUDA GPU" in message
    assert "\n" not in message


@pytest.mark.parametrize("words", [["--frames", "0"], ["--rounds", "many"], ["--dtype", "fp8"]])
def test_bad_options_are_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="run by test_triton.py, in the interpreter")
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_the_command_runs_the_fused_kernel_interpreted(
    dtype: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("triton")
    out = tmp_path / "kernels.json"
    assert main([*SMALL, "--frames", "1", "--rounds", "1", "--dtype", dtype, "--out", str(out)]) == 0
    fused = [one for one in json.loads(out.read_text(encoding="utf-8"))["results"] if "fused" in one["name"]]
    assert [one["name"] for one in fused] == ["fused", "fused, kv=int8", "fused, kv=fp8"]
    assert all(not math.isnan(one["error"]) and one["error"] <= tolerance(dtype) for one in fused)
    assert "fused" in capsys.readouterr().out
