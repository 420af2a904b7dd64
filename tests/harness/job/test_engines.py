"""``engine=local`` and ``engine=ray``: whoever labels, and whoever dies meanwhile, masks are those of one process."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.job.actor import Report
from harness.job.engine import Lost
from harness.job.local_engine import LocalEngine, visible_gpus
from harness.job.ray_engine import RayEngine, check_ray
from strategies.errors import UserError
from tests.support.commands import start
from tests.support.harness_runs import is_running, processes_in, wait_for
from tests.support.jobs import draw, error_of, label, masks_in
from tests.support.warm import server

needs_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
WORDS = ("label.threads=1", "batch=2")
TARGETS = 24
"""Of each of two groups: enough that both actors have some in hand when one of them dies."""


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, and the masks that one process made of them."""
    folder = tmp_path_factory.mktemp("labelled")
    draw(folder / "my_data", groups=2, targets=TARGETS)
    ended = label(folder, "out=whole", *WORDS)
    assert ended.returncode == 0, ended.stderr
    return folder


@pytest.fixture
def whole(labelled: Path, tmp_path: Path) -> Path:
    """A copy in the test's own folder; returns the folder of masks."""
    shutil.copytree(labelled, tmp_path, dirs_exist_ok=True)
    return tmp_path / "whole"


def check_equal(out: Path, whole: Path) -> None:
    assert masks_in(out) == masks_in(whole)
    assert (out / "labels.csv").read_bytes() == (whole / "labels.csv").read_bytes()
    assert list(out.rglob(".*")) == [], "something half-written is left"


def in_the_middle(patch: pytest.MonkeyPatch, engine: str, happens: Callable[[], None]) -> None:
    """From here on, let something happen once in the middle of a job, when both actors have made masks.

    What the actor that was sooner ready reports is held back until then, so that it gets no more to do.
    """
    kind: type[LocalEngine] | type[RayEngine] = {"local": LocalEngine, "ray": RayEngine}[engine]
    real, busy, left, held = kind.next, set[int](), [happens], list[tuple[int, Report | Lost]]()

    def listen(self: Any) -> tuple[int, Report | Lost]:
        if held and not left:
            return held.pop(0)
        number, found = real(self)
        while number in busy and left:
            held.append((number, found))
            number, found = real(self)
        if isinstance(found, Report) and found.targets:
            busy.add(number)
        if len(busy) == 2 and left:
            left.pop()()
        return number, found

    patch.setattr(kind, "next", listen)


def spawned() -> list[int]:
    running = [one for one in multiprocessing.active_children() if one.name.startswith("actor")]
    return [process.pid for process in running if process.pid is not None]


@pytest.fixture
def warm_actors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Actors of this process begin without the seconds of their imports."""
    monkeypatch.setattr("harness.job.local_engine.SPAWN", server())


def of_ray() -> list[int]:
    """The processes of Ray's actors that descend from this one."""
    parents, found = {}, []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(") ")[2].split()[1])
            if (entry / "cmdline").read_text().startswith("ray::Actor"):
                found.append(int(entry.name))
        except OSError:  # It has ended meanwhile.
            continue

    def is_ours(process: int) -> bool:
        return process == os.getpid() or (process in parents and is_ours(parents[process]))

    return [process for process in found if is_ours(process)]


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.usefixtures("warm_actors")
@pytest.mark.parametrize(
    ("engine", "actors"), [("local", spawned), pytest.param("ray", of_ray, marks=needs_ray)], ids=["local", "ray"]
)
def test_an_actor_that_is_killed_in_the_middle_changes_no_byte(
    tmp_path: Path,
    whole: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str,
    actors: Callable[[], list[int]],
) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        killed.append(actors()[0])
        os.kill(killed[0], signal.SIGKILL)

    in_the_middle(monkeypatch, engine, kill_one)
    ended = label(tmp_path, "out=shared", f"engine={engine}", "actors=2", *WORDS)
    assert ended.returncode == 0, ended.stderr
    assert "go to others" in ended.stderr
    check_equal(tmp_path / "shared", whole)
    wait_for(lambda: not any(map(is_running, [*killed, *actors()])), seconds=10)


@pytest.mark.slow
@pytest.mark.processes
@pytest.mark.usefixtures("warm_actors")
def test_a_job_that_is_interrupted_leaves_no_process_and_is_gone_on_with_by_any_number(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        in_the_middle(patch, "local", interrupt)
        assert label(tmp_path, "out=shared", "actors=2", *WORDS).returncode == 130
    assert spawned() == []
    assert 0 < len(masks_in(tmp_path / "shared")) < 2 * TARGETS
    again = label(tmp_path, "out=shared", "batch=2")
    assert again.returncode == 0
    assert "masks are there already" in again.stderr
    check_equal(tmp_path / "shared", whole)


@pytest.mark.slow
@pytest.mark.processes
def test_actors_end_with_the_process_that_began_them(tmp_path: Path, whole: Path) -> None:
    words = ("data=folder", "data.root=my_data", "strategy=direct", "label.review=0", "out=shared", "actors=2")
    command = start(tmp_path, *words, *WORDS, module="harness.label")
    wait_for(lambda: len(masks_in(tmp_path / "shared")) > 4)
    command.kill()
    command.communicate()
    wait_for(lambda: processes_in(tmp_path) == [], seconds=10)
    assert label(tmp_path, "out=shared", "batch=2").returncode == 0
    check_equal(tmp_path / "shared", whole)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["engine=spark"], "engine=spark is not known; choose one of local, ray"),
        (["actors=0"], "label.actors=0 is too small"),
        (["cores=0"], "label.cores=0 is too small"),
    ],
)
def test_bad_options_are_one_sentence(tmp_path: Path, words: list[str], named: str) -> None:
    draw(tmp_path / "my_data", targets=1)
    assert named in error_of(tmp_path, *words)


def test_without_ray_its_engine_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "my_data", targets=1)
    monkeypatch.setattr("harness.job.ray_engine.find_spec", lambda name: None)
    assert "engine=ray needs Ray, which is not installed" in error_of(tmp_path, "engine=ray")
    assert not (tmp_path / "my_data-masks").exists()


@needs_ray
def test_a_cluster_that_does_not_answer_is_one_sentence_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # Nobody listens there.
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{taken.getsockname()[1]}")
        draw(tmp_path / "my_data", groups=1, targets=1)
        assert "mend RAY_ADDRESS, or leave out engine=ray" in error_of(tmp_path, "engine=ray")


def test_ray_is_not_told_which_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.job.ray_engine.find_spec", lambda name: find_spec("torch"))
    with pytest.raises(UserError, match="device=cuda:1 is a GPU of this machine"):
        check_ray(torch.device("cuda:1"))


def test_a_process_sees_one_of_the_gpus_that_this_one_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert visible_gpus(torch.device("cuda"), {}) == ["0", "1", "2"]
    assert visible_gpus(torch.device("cuda:1"), {}) == ["1"]
    assert visible_gpus(torch.device("cuda"), {"CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}) == ["GPU-a", "GPU-b"]
    assert visible_gpus(torch.device("cuda:1"), {"CUDA_VISIBLE_DEVICES": "5,7"}) == ["7"]
    assert visible_gpus(torch.device("cpu"), {"CUDA_VISIBLE_DEVICES": "5,7"}) == []
