"""Pictures of a point's worst targets: which are kept, what is in the files, and runs that are cut off between them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.data.group import Frame, Group
from harness.masks.agreement import AgreementMeter
from harness.masks.pictures import LONGEST_SIDE, Batch, PictureBook
from strategies.vocabulary import Predictions
from tests.support.harness_runs import TINY, only_run, run_here, strict_json, summary
from tests.support.report_runs import table_cells, text_of

IDS = (7, 3)
HEIGHT, WIDTH = 20, 30
few = settings(deadline=None, derandomize=True, max_examples=25)


def frame(name: str, *, truth: bool = True, size: tuple[int, int] = (HEIGHT, WIDTH)) -> Frame:
    """Return a frame of which the left half is object 7, and the rest object 9, which is none of the group's."""
    labels = np.full(size, 9, dtype=np.uint8)
    labels[:, : size[1] // 2] = 7
    return Frame(
        name=name,
        image=lambda: np.full((*size, 3), 90, dtype=np.uint8),
        labels=(lambda: labels) if truth else None,
    )


def group(name: str = "group", *, targets: int, **options: Any) -> Group:
    return Group(
        name=name,
        object_ids=IDS,
        references=(frame("reference"),),
        targets=tuple(frame(str(target), **options) for target in range(targets)),
    )


def random_predictions(seed: int, *, targets: int) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    return Predictions(
        logits=torch.randn(targets, 2, 2, 2, generator=generator),
        object_scores=torch.ones(targets, 2),
        ious=torch.rand(targets, 2, 3, generator=generator),
        object_ids=IDS,
    )


def kept(folder: Path, point: str = "point") -> list[tuple[str, int, int, int | None, float | None]]:
    """Return group, its number, target, object and IoU of the point's targets, in the order of the list."""
    targets = strict_json(folder / "pictures" / "scene" / f"{point}.json")["targets"]
    return [(one["group"], one["number"], one["target"], one["object_id"], one["iou"]) for one in targets]


def written(folder: Path) -> dict[str, bytes]:
    """Return the content of every file, by its path in the scene's folder."""
    scene = folder / "pictures" / "scene"
    return {str(path.relative_to(scene)): path.read_bytes() for path in scene.rglob("*") if path.is_file()}


def book(folder: Path, *, targets: int, batches: Sequence[Batch]) -> PictureBook:
    made = PictureBook(folder, targets=targets)
    for batch in batches:
        made.add(batch)
    return made


def plain_batch(targets: int, **options: Any) -> Batch:
    """Return a batch of a first group, with nothing to compare."""
    return Batch(
        group=group(targets=targets, **options),
        number=0,
        start=0,
        predictions=random_predictions(0, targets=targets),
    )


# --- which are kept ------------------------------------------------------------------------------------------------


@few
@given(
    seed=st.integers(0, 2**20),
    sizes=st.lists(st.integers(1, 7), min_size=1, max_size=3),
    batch=st.integers(1, 4),
    targets=st.integers(1, 6),
)
def test_the_targets_that_agree_least_are_kept_of_all_groups(
    tmp_path_factory: pytest.TempPathFactory, seed: int, sizes: list[int], batch: int, targets: int
) -> None:
    folder, meter = tmp_path_factory.mktemp("run"), AgreementMeter()
    pictures = PictureBook(folder, targets=targets)
    for number, size in enumerate(sizes):
        frames = group(f"group{number}", targets=size)
        expected, actual = (random_predictions(seed + number + more, targets=size) for more in (0, 100))
        for start in range(0, size, batch):
            part = slice(start, start + batch)
            pictures.add(
                Batch(
                    group=frames,
                    number=number,
                    start=start,
                    predictions=actual[part],
                    expected=expected[part],
                    ious=meter.update(frames.name, expected[part], actual[part]),
                )
            )
    pictures.write("scene", "point")
    result = meter.result()
    assert result is not None
    assert kept(folder) == [
        (one.group, int(one.group.removeprefix("group")), one.target, one.object_id, one.iou)
        for one in result.worst[:targets]
    ]


def test_where_nothing_is_compared_the_first_are_kept(tmp_path: Path) -> None:
    book(tmp_path, targets=2, batches=[plain_batch(3), plain_batch(3)]).write("scene", "point")
    assert kept(tmp_path) == [("group", 0, target, None, None) for target in range(2)]
    assert not any("expected" in name for name in written(tmp_path))


def test_nothing_is_written_where_nothing_is_asked_for(tmp_path: Path) -> None:
    book(tmp_path, targets=0, batches=[plain_batch(3)]).write("scene", "point")
    assert list(tmp_path.iterdir()) == []


def test_what_is_kept_does_not_change_when_a_strategy_writes_over_its_predictions(tmp_path: Path) -> None:
    batch = plain_batch(1)
    wanted = batch.predictions.label_map(0, size=(HEIGHT, WIDTH)).numpy()
    made = book(tmp_path, targets=1, batches=[batch])
    batch.predictions.logits.neg_()
    made.write("scene", "point")
    assert np.array_equal(Image.open(tmp_path / "pictures" / "scene" / "0" / "target0-point.png"), wanted)


# --- what is in the files ------------------------------------------------------------------------------------------


def test_pictures_are_label_maps_of_the_photographs_size(tmp_path: Path) -> None:
    frames = group(targets=1)
    expected, actual = (random_predictions(seed, targets=1) for seed in (1, 2))
    batch = Batch(group=frames, number=4, start=0, predictions=actual, expected=expected, ious=np.array([[0.5, 0.25]]))
    book(tmp_path, targets=1, batches=[batch]).write("scene", "point")
    folder = tmp_path / "pictures" / "scene" / "4"
    assert kept(tmp_path) == [("group", 4, 0, 3, 0.25)]
    for name, predictions in (("expected", expected), ("point", actual)):
        wanted = predictions.label_map(0, size=(HEIGHT, WIDTH)).numpy()
        assert np.array_equal(Image.open(folder / f"target0-{name}.png"), wanted)
    for name in ("reference", "target0"):
        truth = np.array(Image.open(folder / f"{name}-labels.png"))
        assert set(np.unique(truth)) == {0, 7}, "what is no object of the group is background"
        assert Image.open(folder / f"{name}.png").size == (WIDTH, HEIGHT)


def test_large_photographs_are_made_small(tmp_path: Path) -> None:
    batch = plain_batch(1, size=(LONGEST_SIDE, 3 * LONGEST_SIDE))
    book(tmp_path, targets=1, batches=[batch]).write("scene", "point")
    for name in ("target0", "target0-labels", "target0-point"):
        size = Image.open(tmp_path / "pictures" / "scene" / "0" / f"{name}.png").size
        assert size == (LONGEST_SIDE, LONGEST_SIDE // 3)


def test_targets_without_truth_have_none(tmp_path: Path) -> None:
    book(tmp_path, targets=1, batches=[plain_batch(1, truth=False)]).write("scene", "point")
    names = ["0/reference-labels.png", "0/reference.png", "0/target0-point.png", "0/target0.png", "point.json"]
    assert sorted(written(tmp_path)) == names


@pytest.mark.parametrize("name", ["木 🌿", "a/b", "..", "\udc80", "w" * 300, ""])
def test_a_group_of_any_name(tmp_path: Path, name: str) -> None:
    batch = Batch(group=group(name, targets=1), number=0, start=0, predictions=random_predictions(0, targets=1))
    book(tmp_path, targets=1, batches=[batch]).write("scene", "point")
    assert kept(tmp_path)[0][0] == name
    assert "0/target0-point.png" in written(tmp_path)


# --- several points, and runs that are cut off ---------------------------------------------------------------------


def test_points_share_photographs_truth_and_what_is_expected(tmp_path: Path) -> None:
    for point in ("one", "two"):
        book(tmp_path, targets=2, batches=[plain_batch(2)]).write("scene", point)
    photographs = [name for name in written(tmp_path) if name.endswith(("reference.png", "target0.png", "target1.png"))]
    assert sorted(photographs) == ["0/reference.png", "0/target0.png", "0/target1.png"]
    assert kept(tmp_path, "one") == kept(tmp_path, "two")


def test_a_photograph_that_is_there_is_not_read_again(tmp_path: Path) -> None:
    book(tmp_path, targets=1, batches=[plain_batch(1)]).write("scene", "one")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.png")}
    book(tmp_path, targets=1, batches=[plain_batch(1)]).write("scene", "two")
    assert {path: path.stat().st_mtime_ns for path in before} == before


@pytest.mark.parametrize("number", range(7))
def test_a_run_that_was_cut_off_between_any_two_files_is_gone_on_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def write(folder: Path) -> None:
        expected = random_predictions(1, targets=1)
        batch = Batch(
            group=group(targets=1),
            number=0,
            start=0,
            predictions=random_predictions(2, targets=1),
            expected=expected,
            ious=np.array([[0.5, 0.25]]),
        )
        book(folder, targets=1, batches=[batch]).write("scene", "point")

    write(tmp_path / "whole")
    replaced, replace = 0, Path.replace

    def cut_off(self: Path, target: Path) -> Path:
        nonlocal replaced
        replaced += 1
        if replaced > number:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            write(tmp_path / "cut")
    assert not (tmp_path / "cut" / "pictures" / "scene" / "point.json").exists()
    write(tmp_path / "cut")
    assert written(tmp_path / "cut") == written(tmp_path / "whole")


# --- a whole run ---------------------------------------------------------------------------------------------------


LATE = '''
from dataclasses import replace

import torch

from strategies import Direct


class Late(Direct):
    """Wrong in the fifth target of the second group it meets, and nowhere else."""

    exact = False

    def __init__(self, model):
        super().__init__(model)
        self._groups = []

    def _prepare(self, references):
        super()._prepare(references)
        group = float(references.features.embedding.sum())
        if group not in self._groups:
            self._groups.append(group)
        self._second = self._groups.index(group) == 1
        self._predicted = 0

    def _predict(self, targets):
        right = super()._predict(targets)
        numbers = torch.arange(self._predicted, self._predicted + len(targets))
        self._predicted += len(targets)
        wrong = (numbers == 4) & self._second
        return replace(right, logits=torch.where(wrong[:, None, None, None], -right.logits, right.logits))
'''


@pytest.mark.slow
def test_a_strategy_that_goes_wrong_late_in_a_second_group_has_that_target_pictured(tmp_path: Path) -> None:
    (tmp_path / "late_strategies.py").write_text(LATE)
    yaml = tmp_path / "my_conf" / "strategy" / "late.yaml"
    yaml.parent.mkdir(parents=True)
    yaml.write_text("_target_: late_strategies.Late\n")
    search = f"hydra.searchpath=[file://{tmp_path / 'my_conf'}]"
    words = (search, "strategy=direct,late", *TINY, "batch=2", "data.groups=2", "targets=5", "paired=false")
    done = run_here(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    folder = only_run(tmp_path / "results")
    points = {line["strategy"]: line["point"] for line in summary(folder)}

    (scene,) = (folder / "pictures").iterdir()
    (worst,) = strict_json(scene / f"{points['late']}.json")["targets"]
    assert (worst["group"], worst["number"], worst["target"]) == ("specimen001", 1, 4)
    assert worst["iou"] == 0
    stored = strict_json(folder / "points" / f"{points['late']}.json")
    assert stored["details"]["agreement"]["worst"][0] == {key: worst[key] for key in worst if key != "number"}
    assert [one["iou"] for one in stored["details"]["agreement"]["worst"][1:3]] == pytest.approx([1, 1], abs=0.01)
    expected, predicted = (Image.open(scene / "1" / f"target4-{name}.png") for name in ("expected", points["late"]))
    assert expected.tobytes() != predicted.tobytes()

    report = text_of(folder)
    first = table_cells(report, "Where they agree least")[0]
    assert (first["strategy"], first["group"], first["target"], first["IoU"]) == ("late", "specimen001", "4", "0.00000")
    assert "masks.png" in report
    assert json.loads((scene / f"{points['direct']}.json").read_text())["targets"][0]["iou"] > 0.99
