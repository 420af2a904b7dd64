"""Fixtures that every test may share: both are made once, and no test may change them."""

from __future__ import annotations

import os

import pytest
import torch

from strategies import Sam2
from tests.support.models import Pictures, draw_pictures, lively_model

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))  # as many as cores would fight for them


@pytest.fixture(scope="session")
def model() -> Sam2:
    return lively_model()


@pytest.fixture(scope="session")
def pictures(model: Sam2) -> Pictures:
    return draw_pictures(model)
