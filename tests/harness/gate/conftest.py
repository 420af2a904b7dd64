"""A place in which a snapshot was written, for tests of the gate's command line."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.check_runs import Place, ticking, ticking_strategies


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ticking(monkeypatch):
        yield


@pytest.fixture(scope="session")
def with_snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of a check that wrote a snapshot; to be copied."""
    folder = tmp_path_factory.mktemp("snapshot")
    with pytest.MonkeyPatch.context() as patch, ticking(patch):
        patch.chdir(folder)
        assert Place(folder=folder, search=ticking_strategies(folder)).check("--update") == 0
    return folder / "results"


@pytest.fixture
def place(with_snapshot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bench: None) -> Place:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    shutil.copytree(with_snapshot, tmp_path / "results", symlinks=True)
    return Place(folder=tmp_path, search=ticking_strategies(tmp_path))
