"""Rung 3: in reduced precision, masks are within limits that were measured in it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.masks.noise import TARGETS
from harness.masks.rule import disagreement
from strategies import Direct, Sam2
from strategies.direct import BANKS
from tests.support.ladder import (
    A_FULL_BATCH_OF_33,
    ABSENT_FROM_THE_FIRST,
    EVERYTHING_AT_ONCE,
    IN_BATCHES_OF_TWO,
    MORE_REFERENCES_THAN_POINTERS,
    NO_MASK_AT_ALL,
    REDUCED,
    SESSIONS,
    Case,
    Reduced,
    agreement,
    assert_outside,
    assert_same_bits_on_as_many_cores,
    expected_of,
    limits_of,
    reduced_to,
    usable,
)
from tests.support.paths import ROOT
from tests.support.wrong_strategies import MISTAKES

pytestmark = pytest.mark.slow


@pytest.fixture(params=REDUCED)
def reduced(request: pytest.FixtureRequest, model: Sam2) -> Reduced:
    """Made once for each dtype: pytest would make it anew wherever the next test has the other one."""
    if not usable(request.param):
        pytest.skip("kills the process on this CPU: run by the last test of this rung, without AMX")
    return reduced_to(request.param, model)


SMALL = {"absent from the first": ABSENT_FROM_THE_FIRST, "no mask": NO_MASK_AT_ALL}
"""All that fp16 climbs with, which CPUs compute many times slower than bf16."""
LARGE = {
    "everything at once": EVERYTHING_AT_ONCE,
    "a batch of 33": A_FULL_BATCH_OF_33,
    "more references than pointers": MORE_REFERENCES_THAN_POINTERS,
}


@pytest.mark.parametrize(
    ("reduced", "case"),
    [
        *(pytest.param("bf16", case, id=f"bf16-{name}") for name, case in (SMALL | LARGE).items()),
        *(pytest.param("fp16", case, id=f"fp16-{name}") for name, case in SMALL.items()),
    ],
    indirect=["reduced"],
)
def test_in_reduced_precision_masks_agree(reduced: Reduced, case: Case) -> None:
    """As in the harness, the floor is that of the group at hand: in reduced precision groups differ in it."""
    expected = expected_of(case, reduced.model, reduced.pictures)
    limits = limits_of(reduced.model, reduced.pictures, (replace(case, targets=case.targets[:TARGETS]),))
    for bank in BANKS:
        masks = case.masks(Direct(reduced.model, bank=bank, chunk_tokens=case.chunk_tokens), reduced.pictures)
        found = agreement(masks, expected, excused=limits)
        assert disagreement(found, limits) is None


def test_in_reduced_precision_sessions_give_the_bits_of_sequential(reduced: Reduced) -> None:
    case = ABSENT_FROM_THE_FIRST
    expected = expected_of(case, reduced.model, reduced.pictures)
    for make in SESSIONS.values():
        strategy = make(reduced.model, len(case.targets))
        masks = case.masks(strategy, reduced.pictures)
        assert_same_bits_on_as_many_cores(strategy, masks, expected, reduced.limits)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_falls_off_in_reduced_precision(reduced: Reduced, mistake: type[Direct]) -> None:
    expected = expected_of(IN_BATCHES_OF_TWO, reduced.model, reduced.pictures)
    assert_outside(reduced.limits, IN_BATCHES_OF_TWO.masks(mistake(reduced.model), reduced.pictures), expected)


@pytest.mark.processes
def test_reduced_precision_without_instructions_that_kill_the_process() -> None:
    rungs = Path(__file__).parent
    chosen = " or ".join(dtype for dtype in REDUCED if not usable(dtype))
    if not chosen:
        pytest.skip("they ran in this process")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, rungs],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "passed" in ended.stdout
    assert "skipped" not in ended.stdout
