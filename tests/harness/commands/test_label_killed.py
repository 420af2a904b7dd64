"""``python -m harness.label`` killed again and again: what is visible is whole, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from harness.store.atomic import UNFINISHED
from tests.support.jobs import draw, label, masks_in

KILLS = 20


@pytest.mark.slow
@pytest.mark.processes
def test_a_job_that_is_killed_at_twenty_moments_leaves_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", groups=2, targets=40)
    began = time.monotonic()
    assert label(tmp_path, "out=whole").returncode == 0
    seconds = time.monotonic() - began
    whole, moments = masks_in(tmp_path / "whole"), random.Random(0)
    grown = []
    for _ in range(KILLS):
        _killed_after(moments.uniform(0, seconds / 4), tmp_path, "out=cut")
        there = masks_in(tmp_path / "cut") if (tmp_path / "cut").is_dir() else {}
        assert there.items() <= whole.items(), "a mask that is visible is whole and right"
        grown.append(len(there))
    assert max(grown) > 0, "some were killed while masks were written"
    assert grown == sorted(grown), "no mask is lost by a kill"
    assert label(tmp_path, "out=cut").returncode == 0
    assert masks_in(tmp_path / "cut") == whole
    assert (tmp_path / "cut" / "labels.csv").read_bytes() == (tmp_path / "whole" / "labels.csv").read_bytes()
    assert not list((tmp_path / "cut").rglob(UNFINISHED)), "nothing half-written stays"


def _killed_after(seconds: float, folder: Path, *words: str) -> None:
    """Run a job in a fork of this process, which has all imports done, and kill it with SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            label(folder, *words)
        finally:
            os._exit(0)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
