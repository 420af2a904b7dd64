"""The core of the exactness tests on other kinds of CPU: without AVX-512, without vector instructions, on two cores.

What torch computes with is settled when its process starts, so each kind is a process of its own.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from tests.support.paths import ROOT

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


WITH_ONE_THREAD_AND_WITH_TWO = """
import os, sys
import pytest, torch

for threads in (1, 2):
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch.set_num_threads(threads)
    if code := pytest.main(sys.argv[1:]):
        sys.exit(code)
"""
"""Both in one process, because most of its time goes into imports."""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="torch has these kinds on x86 only")
@pytest.mark.parametrize("capability", ["avx2", "default"])
def test_what_is_exact_is_exact_on_every_kind_of_cpu(capability: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", WITH_ONE_THREAD_AND_WITH_TWO, "-q", "-p", "no:cacheprovider", *CORE],
        env=os.environ | {"ATEN_CPU_CAPABILITY": capability, "OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(" passed") == 2
    assert "skipped" not in ended.stdout
