"""The lively network on a GPU, for the tests that need one."""

from __future__ import annotations

import copy

import pytest

from strategies import Sam2
from tests.support.models import Pictures, draw_pictures


@pytest.fixture(scope="module")
def cuda_model(model: Sam2) -> Sam2:
    return Sam2(copy.deepcopy(model.network), name="toy", device="cuda")


@pytest.fixture(scope="module")
def cuda_pictures(cuda_model: Sam2) -> Pictures:
    return draw_pictures(cuda_model)
