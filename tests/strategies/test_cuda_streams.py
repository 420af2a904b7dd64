"""Streams on a GPU, without one: who computes where, and that nothing of cuBLAS is left behind."""

from __future__ import annotations

import pytest
import torch

from strategies import Sam2, Sequential
from strategies import multi_session as module
from strategies.components.cuda_graphs import WARM_UPS, CudaRecorder
from strategies.components.cuda_workspaces import free_workspaces
from strategies.multi_session import MultiSession
from tests.support import fake_cuda
from tests.support.fake_cuda import FakeCuda
from tests.support.models import Pictures, assert_same_masks, group, masks_of

GPU = torch.device("cuda")
SESSIONS = 3


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    return fake_cuda.put_in_place(monkeypatch)


def test_all_recordings_and_their_warm_ups_are_on_one_stream_and_keep_no_workspace(cuda: FakeCuda) -> None:
    record = CudaRecorder(GPU)
    outputs = (torch.zeros(1), torch.zeros(1), torch.zeros(1))
    ran: list[int] = []

    def work() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ran.append(1)
        return outputs

    for _ in range(3):
        assert record(work).outputs is outputs
        assert not cuda.workspaces
    assert len(ran) == 3 * (WARM_UPS + 1)
    (stream,) = cuda.streams
    assert {on for what, on in cuda.events if what != "free"} == {stream}
    assert cuda.main in stream.waited_for
    assert stream in cuda.main.waited_for


def test_a_recording_that_fails_keeps_no_workspace(cuda: FakeCuda) -> None:
    runs = iter(range(WARM_UPS))

    def fail_while_recorded() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if next(runs, None) is None:
            raise torch.OutOfMemoryError
        return torch.zeros(1), torch.zeros(1), torch.zeros(1)

    with pytest.raises(torch.OutOfMemoryError):
        CudaRecorder(GPU)(fail_while_recorded)
    assert not cuda.workspaces


@pytest.fixture
def on_gpu(cuda: FakeCuda, monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Let sessions of a model on the CPU believe in streams."""
    monkeypatch.setattr(module, "_new_stream", lambda _: cuda.new_stream())
    monkeypatch.setattr(module, "free_workspaces", lambda _: free_workspaces(GPU))
    return cuda


def test_each_session_has_one_thread_and_one_stream_for_all_groups_and_release_frees_workspaces(
    on_gpu: FakeCuda, model: Sam2, pictures: Pictures
) -> None:
    references = group(model, pictures, frames=range(1), present=[[True]])
    targets = pictures.targets[:4]
    expected = masks_of(Sequential(model), references, targets)
    strategy = MultiSession(model, sessions=SESSIONS)
    for _ in range(3):  # groups
        strategy.prepare(references)
        assert not on_gpu.workspaces
        for _ in range(2):  # batches
            assert_same_masks(strategy.predict(targets), expected)
    strategy.release()
    assert len(on_gpu.streams) == SESSIONS
    assert on_gpu.most_workspaces == SESSIONS, "of threads and streams that met"
    assert not on_gpu.workspaces
    for stream in on_gpu.streams:
        assert set(stream.waited_for) == {on_gpu.main}
    assert set(on_gpu.main.waited_for) == set(on_gpu.streams)
