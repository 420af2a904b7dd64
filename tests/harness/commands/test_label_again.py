"""``python -m harness.label`` again: a job in several runs ends as in one, and is not mixed up with another."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
import torch
from PIL import Image

from harness.pipeline import pipeline
from strategies import Direct, Predictions, VisionFeatures
from tests.support.harness_runs import fill_the_disk
from tests.support.jobs import draw, error_of, interrupted_after, label, masks_in


def test_the_same_command_again_makes_what_is_missing_and_nothing_else(tmp_path: Path, finished: Path) -> None:
    before, table = masks_in(finished), (finished / "labels.csv").read_bytes()
    lost = [finished / "specimen000" / "1.png", finished / "specimen001" / "4.png"]
    times = {path: path.stat().st_mtime_ns for path in finished.rglob("*.png") if path not in lost}
    for path in lost:
        path.unlink()
    again = label(tmp_path)
    assert again.returncode == 0
    assert "8 of 10 masks are there already" in again.stderr
    assert masks_in(finished) == before
    assert (finished / "labels.csv").read_bytes() == table
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["direct", "propagate", "extended_session"])
def test_a_job_that_was_cut_off_in_each_group_ends_as_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    draw(tmp_path / "my_data", groups=2, targets=4)
    label(tmp_path, f"strategy={strategy}", "out=whole")
    for count, (fewest, most) in ((1, (0, 3)), (5, (4, 7))):
        with monkeypatch.context() as patch:
            patch.setattr(pipeline, "finish", interrupted_after(count))
            assert label(tmp_path, f"strategy={strategy}", "out=cut").returncode == 130
        assert fewest <= len(masks_in(tmp_path / "cut")) <= most
    assert label(tmp_path, f"strategy={strategy}", "out=cut").returncode == 0
    assert masks_in(tmp_path / "cut") == masks_in(tmp_path / "whole")
    assert (tmp_path / "cut" / "labels.csv").read_bytes() == (tmp_path / "whole" / "labels.csv").read_bytes()


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_the_job_goes_on_later(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = masks_in(finished)
    for name in list(before)[4:]:
        (finished / name).unlink()
    with monkeypatch.context() as patch:
        fill_the_disk(patch)
        assert "No space left on device" in error_of(tmp_path)
    assert [path.name for path in finished.rglob(".*")] == []
    assert len(masks_in(finished)) == 4
    assert label(tmp_path).returncode == 0
    assert masks_in(finished) == before


@pytest.mark.slow
def test_a_batch_that_memory_is_not_enough_for_is_predicted_in_halves(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Direct.predict

    def scarce(strategy: Direct, targets: VisionFeatures) -> Predictions:
        if len(targets) > 2:
            raise torch.OutOfMemoryError
        return real(strategy, targets)

    monkeypatch.setattr(Direct, "predict", scarce)
    assert label(tmp_path, "batch=4", "out=masks").returncode == 0
    assert masks_in(tmp_path / "masks") == masks_in(finished), "as of batch=2"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["batch=3"], ["batch was 2 and is 3"]),
        (["strategy=sequential"], ["strategy was direct and is sequential"]),
        (["objects=2"], ["objects was null and is 2"]),
        (["model.weights=random"], ["other weights"]),
        (["refs=1"], ["other references", "specimen000, specimen001"]),
    ],
)
def test_masks_of_another_job_are_not_added_to(
    tmp_path: Path, finished: Path, words: list[str], named: list[str]
) -> None:
    before = masks_in(finished)
    said = error_of(tmp_path, *words)
    assert [part for part in [*named, "out="] if part not in said] == []
    assert masks_in(finished) == before


def test_a_reference_that_changed_is_named(tmp_path: Path, finished: Path) -> None:
    mask = tmp_path / "my_data" / "specimen001" / "refs" / "0.png"
    labels = Image.open(mask)
    labels.putpixel((0, 0), 2)
    labels.save(mask)
    assert "references of group specimen001" in error_of(tmp_path)


def test_what_is_on_disk_but_not_entered_is_made_again(tmp_path: Path, finished: Path) -> None:
    """As after a kill between the two."""
    before = masks_in(finished)
    with sqlite3.connect(finished / "labels.sqlite") as ledger:
        ledger.execute("""DELETE FROM labels WHERE target = '3'""")
    (finished / "specimen000" / "3.png").write_bytes(b"half")
    again = label(tmp_path)
    assert "8 of 10 masks are there already" in again.stderr
    assert masks_in(finished) == before


def test_new_targets_are_added_to_a_job(tmp_path: Path, finished: Path) -> None:
    targets = tmp_path / "my_data" / "specimen000" / "targets"
    shutil.copy(targets / "3.jpg", targets / "new.jpg")
    assert "10 of 11 masks are there already" in label(tmp_path).stderr
    assert len(masks_in(finished)) == 11


@pytest.mark.slow
def test_a_damaged_fingerprint_or_ledger_is_named(tmp_path: Path, finished: Path) -> None:
    whole = (finished / "job.json").read_text(encoding="utf-8")
    for damaged in ({"options": 3}, json.loads(whole) | {"threads": -3}):
        (finished / "job.json").write_text(json.dumps(damaged))
        assert "job.json is damaged" in error_of(tmp_path)
    (finished / "job.json").write_text(whole)
    (finished / "labels.sqlite").write_bytes(b"no database" * 100)
    assert "labels.sqlite is damaged" in error_of(tmp_path)
