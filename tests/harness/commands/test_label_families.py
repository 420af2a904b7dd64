"""``python -m harness.label`` with every family of models: the toys of those beside SAM2."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.data.folder import folder_groups
from strategies import load_model
from tests.support.jobs import SIZE, by_hand, draw, error_of, label, masks_in, table_in
from tests.support.models import EDGETAM_TOY, TWINS
from tests.support.weights import change_weights


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
def test_every_target_gets_the_mask_that_the_library_gives(tmp_path: Path, name: str) -> None:
    draw(tmp_path / "my_data", groups=2, targets=3)
    ended = label(tmp_path, f"model={name}")
    assert ended.returncode == 0, ended.stderr
    out, model, ids = tmp_path / "my_data-masks", load_model(name), set[int]()
    for group in folder_groups(root=tmp_path / "my_data", references=None, targets=None):
        for target, expected in zip(group.targets, by_hand(model, group, batch=2), strict=True):
            mask = np.array(Image.open(out / group.name / f"{target.name}.png"))
            assert mask.shape == SIZE
            np.testing.assert_array_equal(mask, expected)
            ids |= set(mask.flat)
    assert len(masks_in(out)) == 2 * 3
    assert {row["object"] for row in table_in(out)} == {"1", "2", "3"}
    assert {0, 1, 2, 3} >= ids > {0}


@pytest.mark.slow
@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("strategy", ["extended_session", "multi_session", "rebuild"])
def test_sessions_label_as_sequential_does(tmp_path: Path, name: str, strategy: str) -> None:
    draw(tmp_path / "my_data", targets=3)
    words = f"model={name}", "label.threads=1"
    assert label(tmp_path, *words, "strategy=sequential", "out=expected").returncode == 0
    assert label(tmp_path, *words, f"strategy={strategy}", "out=found").returncode == 0
    assert masks_in(tmp_path / "found") == masks_in(tmp_path / "expected")


@pytest.mark.slow
def test_masks_of_another_perceiver_are_not_added_to(tmp_path: Path) -> None:
    """It is no stage of its own, and decides every mask."""
    draw(tmp_path / "my_data", targets=2)
    load_model(EDGETAM_TOY).network.save_pretrained(tmp_path / "weights")
    words = f"model={EDGETAM_TOY}", "model.weights=weights"
    assert label(tmp_path, *words).returncode == 0
    assert "2 of 2 masks are there already" in label(tmp_path, *words).stderr
    latents = "spatial_perceiver.latents_2d"
    change_weights(tmp_path / "weights", lambda tensors: tensors.update({latents: tensors[latents] + 1}))
    assert "made with other weights" in error_of(tmp_path, *words)


def test_a_job_that_names_no_such_weights_goes_on(tmp_path: Path, finished: Path) -> None:
    """As older ones do."""
    before, path = masks_in(finished), finished / "job.json"
    stored = json.loads(path.read_text(encoding="utf-8"))
    assert stored.pop("other_weights")
    path.write_text(json.dumps(stored))
    (finished / "specimen000" / "1.png").unlink()
    assert label(tmp_path).returncode == 0
    assert masks_in(finished) == before
    assert json.loads(path.read_text(encoding="utf-8"))["other_weights"]
