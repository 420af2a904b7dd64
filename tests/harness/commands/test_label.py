"""``python -m harness.label``: folders of pictures become masks, whatever happens meanwhile."""

from __future__ import annotations

import json
import shutil
import sqlite3
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness.data.folder import folder_groups
from harness.data.group import Group
from harness.masks.scores import ScoreMeter
from harness.store.lock import locked
from strategies import Direct, Predictions, VisionFeatures, load_model
from tests.support.harness_runs import complaint, fill_the_disk
from tests.support.jobs import PALETTE, SIZE, draw, label, masks_in, table_in
from tests.support.pictures import halve


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return draw(tmp_path / "my_data", groups=2, targets=5)


def by_hand(group: Group, *, batch: int) -> list[np.ndarray]:
    """What the library gives for a group, in a user's own loop."""
    model = load_model("toy")
    with Direct(model) as strategy:
        labels = [frame.labels() for frame in group.references if frame.labels is not None]
        strategy.prepare(model.references([frame.image() for frame in group.references], labels, group.object_ids))
        found = []
        for start in range(0, len(group.targets), batch):
            images = [target.image() for target in group.targets[start : start + batch]]
            predictions = strategy.predict(model.encode(images))
            found += [predictions.label_map(at, size=SIZE).numpy() for at in range(len(images))]
    return found


def error_of(folder: Path, *words: str) -> str:
    ended = label(folder, *words)
    assert ended.returncode == 2
    return complaint(ended.stderr)


# --- what is written -----------------------------------------------------------------------------------------------


def test_every_target_gets_the_mask_that_the_library_gives(tmp_path: Path, data: Path) -> None:
    assert label(tmp_path).returncode == 0
    for group in folder_groups(root=data, references=None, targets=None):
        for target, expected in zip(group.targets, by_hand(group, batch=2), strict=True):
            with Image.open(tmp_path / "my_data-masks" / group.name / f"{target.name}.png") as mask:
                assert (mask.mode, mask.format) == ("P", "PNG")
                assert bytes(mask.getpalette() or []) == PALETTE
                np.testing.assert_array_equal(np.array(mask), expected)
    assert len(masks_in(tmp_path / "my_data-masks")) == 10


def test_the_table_has_a_row_for_each_object_that_fits_its_mask(tmp_path: Path, data: Path) -> None:
    label(tmp_path)
    rows = table_in(tmp_path / "my_data-masks")
    assert [(row["target"], row["object"]) for row in rows[:4]] == [("0", "1"), ("0", "2"), ("0", "3"), ("1", "1")]
    assert len(rows) == 2 * 5 * 3
    for row in rows:
        labels = np.array(Image.open(tmp_path / "my_data-masks" / row["mask"]))
        ys, xs = np.nonzero(labels == int(row["object"]))
        assert int(row["area"]) == len(xs)
        assert (int(row["picture_height"]), int(row["picture_width"])) == labels.shape
        assert 0 <= float(row["confidence"]) <= 1
        if len(xs):
            box = [int(row[name]) for name in ("x", "y", "width", "height")]
            assert box == [xs.min(), ys.min(), np.ptp(xs) + 1, np.ptp(ys) + 1]
            edges = xs.min() == 0 or ys.min() == 0 or xs.max() == SIZE[1] - 1 or ys.max() == SIZE[0] - 1
            assert row["border"] == str(int(edges))
    assert {row["border"] for row in rows} == {"0", "1"}


def test_truth_gives_scores_as_the_harness_does(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", targets=3, truths=2)
    said = label(tmp_path).stdout
    (group,) = folder_groups(root=data, references=None, targets=None)
    meter = ScoreMeter()
    for target in group.targets[:2]:
        assert target.labels is not None
        mask = np.array(Image.open(tmp_path / "my_data-masks" / group.name / f"{target.name}.png"))
        meter.update(group.name, group.object_ids, mask, target.labels())
    scores = meter.result()
    assert scores is not None
    assert f"J&F {scores.jf:.3f}, J {scores.j:.3f}, F {scores.f:.3f}" in said
    rows = table_in(tmp_path / "my_data-masks")
    assert [bool(row["j"]) for row in rows] == [True] * 6 + [False] * 3


def test_coco_holds_the_masks(tmp_path: Path, data: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco")
    assert label(tmp_path, "format=png,coco").returncode == 0
    out = tmp_path / "my_data-masks"
    coco = tools.COCO(str(out / "annotations.json"))
    images = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert len(images) == 10
    for row in table_in(out):
        image = images[f"{row['group']}/{row['picture']}"]
        categories = {one["id"] for one in coco.cats.values() if one["name"] == f"{row['group']}/{row['object']}"}
        found = [one for one in coco.imgToAnns[image["id"]] if one["category_id"] in categories]
        expected = np.array(Image.open(out / row["mask"])) == int(row["object"])
        assert len(found) == int(expected.any())
        for one in found:
            np.testing.assert_array_equal(coco.annToMask(one).astype(bool), expected)
            assert one["area"] == expected.sum()


def test_parquet_holds_the_table(tmp_path: Path, data: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    label(tmp_path)
    out = tmp_path / "my_data-masks"
    columns = parquet.read_table(out / "labels.parquet").to_pydict()
    rows = table_in(out)
    assert list(columns) == list(rows[0])
    assert columns["area"] == [int(row["area"]) for row in rows]
    assert columns["confidence"] == [float(row["confidence"]) for row in rows]


def test_the_review_shows_the_least_confident_first_in_one_file(tmp_path: Path, data: Path) -> None:
    label(tmp_path, "label.review=4")
    out = tmp_path / "my_data-masks"
    page = (out / "review.html").read_text(encoding="utf-8")
    worst: dict[str, float] = {}
    for row in table_in(out):
        worst[row["mask"]] = min(float(row["confidence"]), worst.get(row["mask"], 1.0))
    expected = sorted(worst, key=lambda mask: worst[mask])[:4]
    assert sorted(expected, key=page.index) == expected
    assert [mask for mask in worst if mask in page and mask not in expected] == []
    assert page.count("data:image/jpeg;base64,") == 4
    assert "http:" not in page
    assert "https:" not in page


def test_names_of_users_reach_the_page_as_text(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", targets=1)
    (data / "specimen000").rename(data / "<script>alert(1)<")
    assert label(tmp_path, "label.review=1").returncode == 0
    page = (tmp_path / "my_data-masks" / "review.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_a_preview_shows_some_targets_of_every_group_and_leaves_the_job_alone(tmp_path: Path, data: Path) -> None:
    for _ in range(2):  # a second preview takes the first one's place
        assert label(tmp_path, "--preview", "4", "label.review=100").returncode == 0
        groups = {row["group"] for row in table_in(tmp_path / "my_data-masks-preview")}
        assert groups == {"specimen000", "specimen001"}
        assert len(masks_in(tmp_path / "my_data-masks-preview")) == 4
        page = (tmp_path / "my_data-masks-preview" / "review.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg;base64,") == 4
    assert not (tmp_path / "my_data-masks").exists()


def test_clips_of_davis_are_labelled_too(tmp_path: Path) -> None:
    draw(tmp_path / "drawn", targets=3)
    for kind, folder in (("refs", "JPEGImages"), ("targets", "JPEGImages")):
        for path in (tmp_path / "drawn" / "specimen000" / kind).glob("*.jpg"):
            place = tmp_path / "DAVIS" / folder / "480p" / "moth" / f"{kind}{path.name}"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, place)
    masks = tmp_path / "DAVIS" / "Annotations" / "480p" / "moth"
    masks.mkdir(parents=True)
    for path in (tmp_path / "drawn" / "specimen000" / "refs").glob("*.png"):
        shutil.copy(path, masks / f"refs{path.name}")
    assert label(tmp_path, "data=davis", "data.root=DAVIS").returncode == 0
    assert sorted(masks_in(tmp_path / "DAVIS-masks")) == [f"moth/targets{index}.png" for index in range(3)]


def test_names_with_spaces_and_accents_are_kept(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", targets=2)
    name = unicodedata.normalize("NFD", "ein schöner Käfer.v2 標本")
    (data / "specimen000" / "targets" / "0.jpg").rename(data / "specimen000" / "targets" / f"{name}.jpg")
    (data / "specimen000").rename(data / "Flügel größe 2")
    assert label(tmp_path).returncode == 0
    assert (tmp_path / "my_data-masks" / "Flügel größe 2" / f"{name}.png").is_file()


def test_objects_and_references_may_be_fewer(tmp_path: Path, data: Path) -> None:
    assert label(tmp_path, "objects=1", "refs=1").returncode == 0
    assert {row["object"] for row in table_in(tmp_path / "my_data-masks")} == {"1"}


# --- one job in several runs ---------------------------------------------------------------------------------------


def test_the_same_command_again_makes_what_is_missing_and_nothing_else(tmp_path: Path, data: Path) -> None:
    label(tmp_path)
    out = tmp_path / "my_data-masks"
    before, table = masks_in(out), (out / "labels.csv").read_bytes()
    lost = [out / "specimen000" / "1.png", out / "specimen001" / "4.png"]
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.png") if path not in lost}
    for path in lost:
        path.unlink()
    again = label(tmp_path)
    assert again.returncode == 0
    assert "8 of 10 masks are there already" in again.stderr
    assert masks_in(out) == before
    assert (out / "labels.csv").read_bytes() == table
    assert {path: path.stat().st_mtime_ns for path in times} == times


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["direct", "propagate", "extended_session"])
@pytest.mark.parametrize("cut", [1, 4])
def test_a_job_that_was_cut_off_ends_as_one_that_was_not(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, cut: int
) -> None:
    label(tmp_path, f"strategy={strategy}", "out=whole")
    from harness.job import pipeline

    real, calls = pipeline.finish, []

    def interrupted(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) > cut:
            raise KeyboardInterrupt
        return real(*arguments, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "finish", interrupted)
        assert label(tmp_path, f"strategy={strategy}", "out=cut").returncode == 130
    assert len(masks_in(tmp_path / "cut")) < 10
    assert label(tmp_path, f"strategy={strategy}", "out=cut").returncode == 0
    assert masks_in(tmp_path / "cut") == masks_in(tmp_path / "whole")
    assert (tmp_path / "cut" / "labels.csv").read_bytes() == (tmp_path / "whole" / "labels.csv").read_bytes()


def test_a_full_disk_is_one_sentence_and_the_job_goes_on_later(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(tmp_path, "out=whole")
    label(tmp_path, "targets=2", "out=masks")
    with monkeypatch.context() as patch:
        fill_the_disk(patch)
        assert "No space left on device" in error_of(tmp_path, "out=masks")
    assert [path.name for path in (tmp_path / "masks").rglob(".*")] == []
    assert label(tmp_path, "out=masks").returncode == 0
    assert masks_in(tmp_path / "masks") == masks_in(tmp_path / "whole")


def test_a_batch_that_memory_is_not_enough_for_is_predicted_in_halves(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(tmp_path, "batch=2", "out=halves")
    real = Direct.predict

    def scarce(strategy: Direct, targets: VisionFeatures) -> Predictions:
        if len(targets) > 2:
            raise torch.OutOfMemoryError
        return real(strategy, targets)

    monkeypatch.setattr(Direct, "predict", scarce)
    assert label(tmp_path, "batch=4", "out=masks").returncode == 0
    assert masks_in(tmp_path / "masks") == masks_in(tmp_path / "halves")


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
def test_masks_of_another_job_are_not_added_to(tmp_path: Path, data: Path, words: list[str], named: list[str]) -> None:
    label(tmp_path)
    before = masks_in(tmp_path / "my_data-masks")
    said = error_of(tmp_path, *words)
    assert [part for part in [*named, "out="] if part not in said] == []
    assert masks_in(tmp_path / "my_data-masks") == before


def test_a_reference_that_changed_is_named(tmp_path: Path, data: Path) -> None:
    label(tmp_path)
    mask = data / "specimen001" / "refs" / "0.png"
    labels = Image.open(mask)
    labels.putpixel((0, 0), 2)
    labels.save(mask)
    assert "references of group specimen001" in error_of(tmp_path)


def test_what_is_on_disk_but_not_entered_is_made_again(tmp_path: Path, data: Path) -> None:
    """As after a kill between the two."""
    label(tmp_path)
    out = tmp_path / "my_data-masks"
    before = masks_in(out)
    with sqlite3.connect(out / "labels.sqlite") as ledger:
        ledger.execute("""DELETE FROM labels WHERE target = '3'""")
    (out / "specimen000" / "3.png").write_bytes(b"half")
    again = label(tmp_path)
    assert "8 of 10 masks are there already" in again.stderr
    assert masks_in(out) == before


def test_new_targets_are_added_to_a_job(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", targets=4)
    moved = data / "specimen000" / "targets" / "3.jpg"
    moved.rename(tmp_path / "3.jpg")
    label(tmp_path)
    shutil.move(tmp_path / "3.jpg", moved)
    assert "3 of 4 masks are there already" in label(tmp_path).stderr
    assert len(masks_in(tmp_path / "my_data-masks")) == 4


# --- what is broken ------------------------------------------------------------------------------------------------


def test_a_broken_target_is_listed_and_changes_no_other_mask(tmp_path: Path, data: Path) -> None:
    label(tmp_path, "out=whole")
    picture = data / "specimen000" / "targets" / "2.jpg"
    halve(picture)
    broken = label(tmp_path, "out=masks")
    assert broken.returncode == 1
    assert "left out: specimen000/2: " in broken.stderr
    assert "cannot be read as a picture" in (tmp_path / "masks" / "broken.csv").read_text(encoding="utf-8")
    whole, found = masks_in(tmp_path / "whole"), masks_in(tmp_path / "masks")
    assert whole.keys() - found.keys() == {"specimen000/2.png"}
    assert {name: whole[name] for name in found} == found
    picture.unlink()
    Image.fromarray(np.zeros((*SIZE, 3), dtype=np.uint8)).save(picture)
    assert label(tmp_path, "out=masks").returncode == 0
    assert not (tmp_path / "masks" / "broken.csv").exists()
    assert len(masks_in(tmp_path / "masks")) == 10


def test_a_target_that_disappears_meanwhile_is_listed(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.job import run

    real = run.open_groups

    def then_removed(*arguments: object, **options: object) -> list[Group]:
        groups = real(*arguments, **options)  # type: ignore[arg-type]
        (data / "specimen001" / "targets" / "4.jpg").unlink()
        return groups

    monkeypatch.setattr(run, "open_groups", then_removed)
    ended = label(tmp_path)
    assert ended.returncode == 1
    assert "left out: specimen001/4: " in ended.stderr
    assert len(masks_in(tmp_path / "my_data-masks")) == 9


@pytest.mark.parametrize("broken", ["refs/0.png", "refs/1.jpg"])
def test_a_broken_reference_stops_its_group_only(tmp_path: Path, data: Path, broken: str) -> None:
    halve(data / "specimen000" / broken)
    ended = label(tmp_path)
    assert ended.returncode == 1
    assert "left out: all of group specimen000: " in ended.stderr
    assert {Path(name).parent.name for name in masks_in(tmp_path / "my_data-masks")} == {"specimen001"}
    assert len(masks_in(tmp_path / "my_data-masks")) == 5


def test_a_truth_that_can_not_be_read_costs_its_score_and_not_the_mask(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", targets=25, truths=25)  # the first 20 are read when the folder is opened
    halve(data / "specimen000" / "truth" / "9.png")  # the last by name
    ended = label(tmp_path, "batch=8")
    assert ended.returncode == 1
    assert "specimen000/9: it is not scored" in ended.stderr
    assert len(masks_in(tmp_path / "my_data-masks")) == 25
    assert "J&F" in ended.stdout


# --- what is refused -----------------------------------------------------------------------------------------------


def test_folders_that_are_not_a_jobs_are_refused(tmp_path: Path, data: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert "out=mine is there already" in error_of(tmp_path, "out=mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "mine-preview").mkdir()
    (tmp_path / "mine-preview" / "thesis.txt").write_text("years of work")
    assert "mine-preview is there already" in error_of(tmp_path, "out=mine", "--preview", "3")
    assert (tmp_path / "mine-preview" / "thesis.txt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("out", ["my_data", "my_data/masks", "link/masks"])
def test_masks_never_go_into_the_input(tmp_path: Path, data: Path, out: str) -> None:
    (tmp_path / "link").symlink_to(data)
    before = sorted(data.rglob("*"))
    assert "where pictures are read from" in error_of(tmp_path, f"out={out}")
    assert sorted(data.rglob("*")) == before


def test_a_second_run_into_a_folder_is_refused(tmp_path: Path, data: Path) -> None:
    label(tmp_path, "targets=1")
    with locked(tmp_path / "my_data-masks"):
        said = error_of(tmp_path)
    assert "is being labelled by process" in said
    assert "out=" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["data=synthetic", "data.root=null"], "data.root"),
        (["data.root=nowhere"], "data.root=nowhere is not a folder"),
        (["out="], "out= is empty"),
        (["format=png,svg"], "format=svg is not known"),
        (["strategy=direct,sequential"], "label takes one point"),
        (["batch=0"], "batch=0 is too small"),
        (["objects=4"], "objects=4 is more than group"),
        (["label.workers=0"], "label.workers=0 is too small"),
        (["strategy=triton"], "triton"),
        (["--preview", "many"], "--preview many is not valid"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path: Path, data: Path, words: list[str], named: str) -> None:
    assert named in error_of(tmp_path, *words)
    assert not (tmp_path / "my_data-masks").exists() or masks_in(tmp_path / "my_data-masks") == {}


def test_data_without_a_folder_is_refused(tmp_path: Path) -> None:
    from harness.commands.label import main
    from tests.support.harness_runs import run_here

    assert "data=folder" in complaint(run_here(tmp_path, command=main).stderr)


def test_two_pictures_of_one_name_are_refused(tmp_path: Path, data: Path) -> None:
    picture = data / "specimen000" / "targets" / "1.jpg"
    Image.open(picture).save(picture.with_suffix(".tif"))
    ended = label(tmp_path)
    assert ended.returncode == 1
    assert "share a name" in ended.stderr
    assert {Path(name).parent.name for name in masks_in(tmp_path / "my_data-masks")} == {"specimen001"}


def test_a_damaged_fingerprint_or_ledger_is_named(tmp_path: Path, data: Path) -> None:
    label(tmp_path, "targets=1")
    out = tmp_path / "my_data-masks"
    whole = (out / "job.json").read_text(encoding="utf-8")
    (out / "job.json").write_text(json.dumps({"options": 3}))
    assert "job.json is damaged" in error_of(tmp_path)
    (out / "job.json").write_text(whole)
    (out / "labels.sqlite").write_bytes(b"no database" * 100)
    assert "labels.sqlite is damaged" in error_of(tmp_path)
