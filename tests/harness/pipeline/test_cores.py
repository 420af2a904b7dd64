from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.pipeline.cores import Cores, computing_with, shared

seconds = st.floats(0, 1e6)


@given(cores=st.integers(1, 512), network=seconds, around=seconds)
def test_threads_and_workers_are_no_more_than_the_cores_and_at_least_one_each(
    cores: int, network: float, around: float
) -> None:
    found = shared(cores, network=network, around=around)
    assert found.threads >= 1
    assert found.workers >= 1
    assert found.threads + found.workers <= max(cores, found.threads + 1)


def test_cores_go_where_the_work_is() -> None:
    assert shared(2, network=11.0, around=13.0) == Cores(threads=1, workers=1)
    assert shared(2, network=3000.0, around=20.0) == Cores(threads=2, workers=1)
    assert shared(16, network=1.0, around=3.0) == Cores(threads=4, workers=12)


def test_threads_are_the_callers_own_again_afterwards() -> None:
    before = torch.get_num_threads()
    with computing_with(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
