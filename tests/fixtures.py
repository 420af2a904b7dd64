"""Fixtures that every test may share, made once, and that no test may change."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from strategies import Sam2
from tests.support.jobs import draw, label
from tests.support.models import SAM2_TOY, Pictures, drawn_once, lively
from tests.support.remembered import remembering
from tests.support.warm import warm_templates

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # as many as cores would fight for them


@pytest.fixture(scope="session", autouse=True)
def cheap() -> Iterator[None]:
    """No test waits for what another has had made, nor a worker for imports."""
    with remembering(), warm_templates():
        yield


@pytest.fixture(scope="session")
def model(request: pytest.FixtureRequest) -> Sam2:
    """The lively network of SAM2's toy, or of the family that a test names (`tests.support.models.every_family`)."""
    return lively(getattr(request, "param", SAM2_TOY))


@pytest.fixture(scope="session")
def pictures(model: Sam2) -> Pictures:
    return drawn_once(model)


@pytest.fixture
def new_objects_only() -> None:
    """Keep what exists already out of the garbage collector's sight, where it stays: it was none of this test's."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def finished_job(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``my_data``, two groups of five targets, and the masks that a job of batch=2 made of them."""
    folder = tmp_path_factory.mktemp("finished")
    draw(folder / "my_data", groups=2, targets=5)
    ended = label(folder, "label.review=4")
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def finished(finished_job: Path, tmp_path: Path) -> Path:
    """A copy of it in the test's own folder, times included; returns the folder of masks."""
    shutil.copytree(finished_job, tmp_path, dirs_exist_ok=True)
    return tmp_path / "my_data-masks"
