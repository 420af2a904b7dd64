"""A stand-in for the streams, graphs and workspaces of torch.cuda, which notes who computes where."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
import torch


@dataclass(eq=False)
class FakeStream:
    """A stream and the streams that it was told to wait for."""

    device: object = None
    waited_for: list[object] = field(default_factory=list)

    def wait_stream(self, other: object) -> None:
        self.waited_for.append(other)


@dataclass(kw_only=True)
class FakeCuda:
    """What was done.

    streams: all that were made. events: "run" for work within a stream, "record" for a recording, "free" where
    workspaces were freed. workspaces: the pairs of a thread and a stream that met since workspaces were last freed.
    most_workspaces: the most pairs there ever were.
    """

    streams: list[FakeStream] = field(default_factory=list)
    events: list[tuple[str, FakeStream | None]] = field(default_factory=list)
    workspaces: set[tuple[int, FakeStream]] = field(default_factory=set)
    most_workspaces: int = 0
    main: FakeStream = field(default_factory=FakeStream)

    def new_stream(self, device: object = None) -> FakeStream:
        self.streams.append(FakeStream(device))
        return self.streams[-1]

    @contextmanager
    def computing_on(self, stream: FakeStream | None) -> Iterator[None]:
        if stream is not None:
            self.events.append(("run", stream))
            self.workspaces.add((threading.get_ident(), stream))
            self.most_workspaces = max(self.most_workspaces, len(self.workspaces))
        yield

    @contextmanager
    def recording(self, graph: object, *, stream: FakeStream, **_: object) -> Iterator[None]:
        assert not self.workspaces, "a graph would hold workspaces that somebody may free"
        self.events.append(("record", stream))
        with self.computing_on(stream):
            yield

    def free(self) -> None:
        self.events.append(("free", None))
        self.workspaces.clear()


def put_in_place(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    """Return the stand-in, which serves until the test is over."""
    fake = FakeCuda()
    cuda: Any = torch.cuda
    monkeypatch.setattr(cuda, "Stream", fake.new_stream)
    monkeypatch.setattr(cuda, "stream", fake.computing_on)
    monkeypatch.setattr(cuda, "current_stream", lambda *_: fake.main)
    monkeypatch.setattr(cuda, "device", lambda _: nullcontext())
    monkeypatch.setattr(cuda, "graph", fake.recording)
    monkeypatch.setattr(cuda, "CUDAGraph", lambda: SimpleNamespace(replay=lambda: None))
    monkeypatch.setattr(cuda, "graph_pool_handle", lambda: (0, 1))
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", fake.free, raising=False)
    return fake
