"""The rehearsal, which tells how cores are shared."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.folder import folder_groups
from harness.options.config import LabelConfig
from harness.pipeline.cores import computing_with
from harness.pipeline.plan import work_of
from harness.pipeline.rehearse import cores_of
from strategies import Sam2
from tests.support.jobs import draw
from tests.support.wrong_strategies import Noting


def test_a_target_that_can_not_be_read_leaves_the_rehearsal_to_the_next(
    tmp_path: Path, model: Sam2, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = draw(tmp_path / "my_data", targets=2)
    (root / "specimen000" / "targets" / "0.jpg").write_bytes(b"")
    plan = work_of(folder_groups(root=root, references=None, targets=None), None, tmp_path / "masks")
    monkeypatch.setattr(Noting, "noted", [], raising=False)
    with computing_with(2):
        cores_of(LabelConfig(), plan, model, Noting(model), cores=2, kept=None)
    assert "predict" in Noting.noted
