"""``python -m harness.label`` with pictures that can't be used: they are listed, and all others are labelled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from harness.data.group import Group
from harness.job import run
from harness.pipeline.stages import Stages
from strategies import Predictions
from tests.support.jobs import SIZE, draw, label, masks_in
from tests.support.pictures import halve


@pytest.mark.slow
def test_a_broken_target_is_listed_and_changes_no_other_mask(tmp_path: Path, finished: Path) -> None:
    picture = tmp_path / "my_data" / "specimen000" / "targets" / "2.jpg"
    halve(picture)
    broken = label(tmp_path, "out=masks")
    assert broken.returncode == 1
    assert "left out: specimen000/2: " in broken.stderr
    assert "cannot be read as a picture" in (tmp_path / "masks" / "broken.csv").read_text(encoding="utf-8")
    whole, found = masks_in(finished), masks_in(tmp_path / "masks")
    assert whole.keys() - found.keys() == {"specimen000/2.png"}
    assert {name: whole[name] for name in found} == found
    picture.unlink()
    Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(picture)
    assert label(tmp_path, "out=masks").returncode == 0
    assert not (tmp_path / "masks" / "broken.csv").exists()
    assert len(masks_in(tmp_path / "masks")) == 10


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "predicted"), [("direct", [3]), ("propagate", [2])])
def test_an_empty_picture_stands_in_for_a_broken_one_where_targets_are_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, predicted: list[int]
) -> None:
    """The batch then has the size that it would have, so that the others' masks are the same to the bit."""
    data = draw(tmp_path / "my_data", targets=3)
    halve(data / "specimen000" / "targets" / "1.jpg")
    sizes: list[int] = []
    real = Stages.predict

    def noted(stages: Stages, pixels: Tensor) -> Predictions:
        sizes.append(len(pixels))
        return real(stages, pixels)

    monkeypatch.setattr(Stages, "predict", noted)
    assert label(tmp_path, f"strategy={strategy}", "batch=3").returncode == 1
    assert sizes == predicted


@pytest.mark.slow
def test_a_target_that_disappears_meanwhile_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw(tmp_path / "my_data", targets=3)
    real = run.open_groups

    def then_removed(*arguments: object, **options: object) -> list[Group]:
        groups = real(*arguments, **options)  # type: ignore[arg-type]
        (data / "specimen000" / "targets" / "1.jpg").unlink()
        return groups

    monkeypatch.setattr(run, "open_groups", then_removed)
    ended = label(tmp_path)
    assert ended.returncode == 1
    assert "left out: specimen000/1: " in ended.stderr
    assert len(masks_in(tmp_path / "my_data-masks")) == 2


def test_what_is_wrong_with_a_group_stops_that_group_only(tmp_path: Path) -> None:
    """A reference's mask or picture that is broken, and two pictures of one name."""
    data = draw(tmp_path / "my_data", groups=4, targets=2)
    halve(data / "specimen000" / "refs" / "0.png")
    halve(data / "specimen001" / "refs" / "1.jpg")
    picture = data / "specimen002" / "targets" / "1.jpg"
    Image.open(picture).save(picture.with_suffix(".tif"))
    ended = label(tmp_path)
    assert ended.returncode == 1
    for group, why in (("specimen000", "0.png"), ("specimen001", "1.jpg"), ("specimen002", "share a name")):
        (said,) = [line for line in ended.stderr.splitlines() if f"left out: all of group {group}: " in line]
        assert why in said
    assert list(masks_in(tmp_path / "my_data-masks")) == ["specimen003/0.png", "specimen003/1.png"]
