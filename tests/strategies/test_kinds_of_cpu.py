"""The core of the exactness tests on other kinds of CPU: without AVX-512, without vector instructions, on two cores.

What torch computes with is settled when a process first computes, so each kind is a process of its own.
"""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest
import torch

from tests.support.paths import ROOT
from tests.support.warm import Forked, print_into

RUNG_2 = "ladder/test_rung_2_noise.py"
CORE = tuple(
    f"tests/strategies/{test}"
    for test in (
        "test_weights.py::test_weights_saved_with_save_pretrained_are_read_from_their_folder",
        "test_oracle.py::test_the_session_computes_what_the_oracle_does[sam2.1-2]",
        "test_oracle.py::test_direct_computes_what_the_oracle_does_with_what_the_session_remembers[sam2.1-2-shared]",
        "test_extended_session.py::test_pinned_slots_give_the_bits_of_sequential",
        "ladder/test_rung_1_bits.py::test_direct_gives_the_same_bits_twice[shared-toy]",
        f"{RUNG_2}::test_direct_is_within_the_noise_of_sequential_at_the_extremes[one target left over]",
        "test_attention_kernels.py::test_the_chosen_attention_runs_and_no_other_and_changes_no_mask[flash-shared]",
    )
)


def be_of_a_kind(capability: str, out: Path) -> None:
    """Run the tests with one thread and with two, where nothing was computed yet, and exit with the code of pytest."""
    print_into(out, 1, 2)
    os.chdir(ROOT)
    os.environ["ATEN_CPU_CAPABILITY"] = capability
    assert torch.backends.cpu.get_cpu_capability() == capability.upper()
    for threads in (1, 2):
        os.environ["OMP_NUM_THREADS"] = str(threads)
        torch.set_num_threads(threads)
        if code := pytest.main(["-q", "-p", "no:cacheprovider", *CORE]):
            sys.exit(code)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="torch has these kinds on x86 only")
@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_what_is_exact_is_exact_on_every_kind_of_cpu(capability: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = Forked(be_of_a_kind, capability, out).wait(timeout=600)
    said = out.read_text(encoding="utf-8")
    assert code == 0, said
    assert said.count(" passed") == 2
    assert "skipped" not in said
