"""Limits for the rungs, measured once."""

from __future__ import annotations

import pytest

from harness.masks.rule import Limits
from strategies import Sam2
from tests.support.ladder import FLOOR_CASES, REDUCED, Reduced, limits_of, reduced_to, usable
from tests.support.models import Pictures


@pytest.fixture(scope="module")
def limits(model: Sam2, pictures: Pictures) -> Limits:
    return limits_of(model, pictures, FLOOR_CASES)


@pytest.fixture(params=REDUCED)
def reduced(request: pytest.FixtureRequest, model: Sam2) -> Reduced:
    """Made once for each dtype: pytest would make it anew wherever the next test has the other one."""
    if not usable(request.param):
        pytest.skip("kills the process on this CPU: run by the last test of this rung, without AMX")
    return reduced_to(request.param, model)
