"""Reduced precision on a CPU: what it can do is found out before it kills the process."""

from __future__ import annotations

import sys

import pytest
import torch
from transformers import Sam2VideoModel

from strategies import Sam2, load_model
from strategies.cpu_features import usable_on_cpu
from strategies.models.precision import DTYPES
from strategies.models.sam2_family import toy_config
from tests.support.warm import Forked
from tests.support.weights import refusal


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_a_dtype_that_kills_the_process_is_answered_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, dtype: str
) -> None:
    monkeypatch.setattr("strategies.models.loading.usable_on_cpu", lambda asked: False)
    sentence = refusal(weights="random", dtype=dtype)
    assert f"dtype={dtype} is not usable on this CPU" in sentence
    assert "set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 in the environment, or use dtype=fp32" in sentence
    assert load_model("toy", weights="random").dtype == "fp32"


DYING = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
@pytest.mark.parametrize(("script", "usable"), [(DYING, False), ("raise ImportError('torch')", True), ("", True)])
def test_only_a_death_of_the_probe_is_a_verdict(monkeypatch: pytest.MonkeyPatch, script: str, usable: bool) -> None:
    monkeypatch.setattr("strategies.cpu_features._PROBE", script)
    assert usable_on_cpu.__wrapped__(torch.bfloat16) is usable


def encode_in(dtype: str) -> None:
    torch.set_num_threads(1)
    model = Sam2(Sam2VideoModel(toy_config()).eval(), name="toy", dtype=dtype)
    assert model.encode_pixels(torch.zeros(1, 3, 128, 128)).embedding.isfinite().all()


@pytest.mark.processes
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_the_probe_foretells_whether_encoding_kills_the_process(dtype: str) -> None:
    """Encoding in that dtype as load_model would after the probe, in a process that may die."""
    ended = Forked(encode_in, dtype).wait(120)
    assert usable_on_cpu(DTYPES[dtype]) is (ended == 0)


@pytest.mark.slow
def test_without_amx_every_cpu_can_do_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")
    assert usable_on_cpu.__wrapped__(torch.bfloat16)
