"""Real clips beside the checkout, which are not part of the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.paths import ROOT

CLIPS = ROOT.parent / "shared" / "data"


def real_clips(dataset: str) -> Path:
    """The data set's folder; skips the test where it is not there."""
    if not (CLIPS / dataset).is_dir():
        pytest.skip(f"no test data: {CLIPS / dataset}")
    return CLIPS / dataset
