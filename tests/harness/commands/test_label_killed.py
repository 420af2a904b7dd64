"""``python -m harness.label`` killed again and again: what is visible is whole, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from harness.store.atomic import UNFINISHED
from tests.support.harness_runs import wait_for
from tests.support.jobs import draw, label, masks_in

KILLS = 20


@pytest.mark.slow
@pytest.mark.processes
def test_a_job_that_is_killed_at_twenty_moments_leaves_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", groups=2, targets=12)
    assert label(tmp_path, "out=whole").returncode == 0
    whole, cut, moments = masks_in(tmp_path / "whole"), tmp_path / "cut", random.Random(0)
    grown = []
    for _ in range(KILLS):
        _killed(tmp_path, cut, more=moments.randint(0, 5), later=moments.uniform(0, 0.2))
        there = masks_in(cut)
        assert there.items() <= whole.items(), "a mask that is visible is whole and right"
        grown.append(len(there))
    assert grown[-1] > 0, "they were killed while masks were written"
    assert grown == sorted(grown), "no mask is lost by a kill"
    assert label(tmp_path, "out=cut").returncode == 0
    assert masks_in(cut) == whole
    assert (cut / "labels.csv").read_bytes() == (tmp_path / "whole" / "labels.csv").read_bytes()
    assert not list(cut.rglob(UNFINISHED)), "nothing half-written stays"


def _killed(folder: Path, out: Path, *, more: int, later: float) -> None:
    """Run a job in a fork of this process, which has all imports done, and kill it with SIGKILL.

    more: so many masks have been written by then, or the job has ended. later: seconds after that.
    """
    before = len(masks_in(out))
    child = os.fork()
    if child == 0:
        try:
            label(folder, f"out={out.name}")
        finally:
            os._exit(0)
    ended = False

    def due() -> bool:
        nonlocal ended
        ended = os.waitpid(child, os.WNOHANG) != (0, 0)
        return ended or len(masks_in(out)) >= before + more

    wait_for(due)
    time.sleep(later)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
