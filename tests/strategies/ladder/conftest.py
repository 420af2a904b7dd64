"""Limits for the rungs, measured once."""

from __future__ import annotations

import pytest

from harness.masks.rule import Limits
from strategies import Sam2
from tests.support.ladder import FLOOR_CASES, limits_of
from tests.support.models import Pictures


@pytest.fixture(scope="module")
def limits(model: Sam2, pictures: Pictures) -> Limits:
    return limits_of(model, pictures, FLOOR_CASES)
