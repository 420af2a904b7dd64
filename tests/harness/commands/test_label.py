"""``python -m harness.label``: folders of pictures become masks."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness.commands.label import main
from harness.data import folder as folders
from harness.data.folder import folder_groups
from harness.masks.scores import ScoreMeter
from harness.store.lock import locked
from strategies import load_model
from tests.support.harness_runs import complaint, run_here
from tests.support.jobs import PALETTE, SIZE, by_hand, draw, error_of, label, masks_in, table_in
from tests.support.pictures import halve

# --- what is written -----------------------------------------------------------------------------------------------


def test_every_target_gets_the_mask_that_the_library_gives(finished_job: Path) -> None:
    for group in folder_groups(root=finished_job / "my_data", references=None, targets=None):
        for target, expected in zip(group.targets, by_hand(load_model("toy"), group, batch=2), strict=True):
            with Image.open(finished_job / "my_data-masks" / group.name / f"{target.name}.png") as mask:
                assert (mask.mode, mask.format) == ("P", "PNG")
                assert bytes(mask.getpalette() or []) == PALETTE
                np.testing.assert_array_equal(np.array(mask), expected)
    assert len(masks_in(finished_job / "my_data-masks")) == 10


def test_the_table_has_a_row_for_each_object_that_fits_its_mask(finished_job: Path) -> None:
    rows = table_in(finished_job / "my_data-masks")
    assert [(row["target"], row["object"]) for row in rows[:4]] == [("0", "1"), ("0", "2"), ("0", "3"), ("1", "1")]
    assert len(rows) == 2 * 5 * 3
    for row in rows:
        labels = np.array(Image.open(finished_job / "my_data-masks" / row["mask"]))
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


def test_truth_gives_scores_as_the_harness_does_and_one_that_can_not_be_read_costs_its_score_and_not_the_mask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "TRUTH_READ_EARLY", 2)  # The first ones are read when the folder is opened.
    data = draw(tmp_path / "my_data", targets=4, truths=3)
    halve(data / "specimen000" / "truth" / "2.png")
    ended = label(tmp_path)
    assert ended.returncode == 1
    assert "specimen000/2: it is not scored" in ended.stderr
    assert len(masks_in(tmp_path / "my_data-masks")) == 4
    (group,) = folder_groups(root=data, references=None, targets=None)
    meter = ScoreMeter()
    for target in group.targets[:2]:
        assert target.labels is not None
        mask = np.array(Image.open(tmp_path / "my_data-masks" / group.name / f"{target.name}.png"))
        meter.update(group.name, group.object_ids, mask, target.labels())
    scores = meter.result()
    assert scores is not None
    assert f"J&F {scores.jf:.3f}, J {scores.j:.3f}, F {scores.f:.3f}" in ended.stdout
    rows = table_in(tmp_path / "my_data-masks")
    assert [bool(row["j"]) for row in rows] == [True] * 6 + [False] * 6


def test_coco_holds_the_masks(tmp_path: Path, finished: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco")
    assert label(tmp_path, "format=png,coco").returncode == 0
    coco = tools.COCO(str(finished / "annotations.json"))
    images = {image["file_name"]: image for image in coco.loadImgs(coco.getImgIds())}
    assert len(images) == 10
    for row in table_in(finished):
        image = images[f"{row['group']}/{row['picture']}"]
        categories = {one["id"] for one in coco.cats.values() if one["name"] == f"{row['group']}/{row['object']}"}
        found = [one for one in coco.imgToAnns[image["id"]] if one["category_id"] in categories]
        expected = np.array(Image.open(finished / row["mask"])) == int(row["object"])
        assert len(found) == int(expected.any())
        for one in found:
            np.testing.assert_array_equal(coco.annToMask(one).astype(bool), expected)
            assert one["area"] == expected.sum()


def test_coco_holds_the_masks_that_people_corrected(tmp_path: Path, finished: Path) -> None:
    tools = pytest.importorskip("pycocotools.coco")
    corrected = finished / "specimen000" / "1.png"
    mask = Image.open(corrected)
    mask.paste(3, (0, 0, 20, 10))
    mask.save(corrected)
    assert label(tmp_path, "format=png,coco").returncode == 0
    coco = tools.COCO(str(finished / "annotations.json"))
    (image,) = (one["id"] for one in coco.imgs.values() if one["file_name"] == "specimen000/1.jpg")
    (category,) = (one["id"] for one in coco.cats.values() if one["name"] == "specimen000/3")
    (found,) = (one for one in coco.imgToAnns[image] if one["category_id"] == category)
    assert found["area"] == np.count_nonzero(np.array(mask) == 3) == coco.annToMask(found).sum()
    assert found["bbox"][:2] == [0, 0]
    corrected.write_bytes(b"half")
    refused = label(tmp_path, "format=png,coco")
    assert refused.returncode == 2
    assert f"{corrected} cannot be read" in refused.stderr
    assert "remove it" in refused.stderr


def test_parquet_holds_the_table(finished_job: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = finished_job / "my_data-masks"
    columns = parquet.read_table(out / "labels.parquet").to_pydict()
    rows = table_in(out)
    assert list(columns) == list(rows[0])
    assert columns["area"] == [int(row["area"]) for row in rows]
    assert columns["confidence"] == [float(row["confidence"]) for row in rows]


def test_the_review_shows_the_least_confident_first_in_one_file(finished_job: Path) -> None:
    out = finished_job / "my_data-masks"
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


def test_names_of_users_are_kept_and_reach_the_page_as_text(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", groups=2, targets=1)
    name = unicodedata.normalize("NFD", "ein schöner Käfer.v2 標本")
    (data / "specimen000" / "targets" / "0.jpg").rename(data / "specimen000" / "targets" / f"{name}.jpg")
    (data / "specimen000").rename(data / "Flügel größe 2")
    (data / "specimen001").rename(data / "<script>alert(1)<")
    assert label(tmp_path, "label.review=2").returncode == 0
    assert (tmp_path / "my_data-masks" / "Flügel größe 2" / f"{name}.png").is_file()
    page = (tmp_path / "my_data-masks" / "review.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;" in page


def test_an_id_beyond_the_first_references_palette_is_in_the_mask(tmp_path: Path) -> None:
    """Programs cut a palette at the last index of a mask, and a PNG of three colours has two bits for a pixel."""
    references = draw(tmp_path / "my_data", targets=3) / "specimen000" / "refs"
    for name, third in (("0.png", 0), ("1.png", 200)):
        labels = np.array(Image.open(references / name))
        labels[labels == 3] = third
        mask = Image.fromarray(labels)
        mask.putpalette(PALETTE[: 3 * (int(labels.max()) + 1)])
        mask.save(references / name)
    assert label(tmp_path).returncode == 0
    rows = table_in(tmp_path / "my_data-masks")
    assert max(int(row["area"]) for row in rows if row["object"] == "200") > 0
    for row in rows:
        mask = Image.open(tmp_path / "my_data-masks" / row["mask"])
        assert np.count_nonzero(np.array(mask) == int(row["object"])) == int(row["area"])


@pytest.mark.slow
def test_a_preview_shows_some_targets_of_every_group_and_leaves_the_job_alone(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", groups=2, targets=3)
    for _ in range(2):  # a second preview takes the first one's place
        assert label(tmp_path, "--preview", "4", "label.review=100").returncode == 0
        groups = {row["group"] for row in table_in(tmp_path / "my_data-masks-preview")}
        assert groups == {"specimen000", "specimen001"}
        assert len(masks_in(tmp_path / "my_data-masks-preview")) == 4
        page = (tmp_path / "my_data-masks-preview" / "review.html").read_text(encoding="utf-8")
        assert page.count("data:image/jpeg;base64,") == 4
    assert not (tmp_path / "my_data-masks").exists()


def test_clips_of_davis_are_labelled_too(tmp_path: Path) -> None:
    draw(tmp_path / "drawn", targets=2)
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
    assert sorted(masks_in(tmp_path / "DAVIS-masks")) == [f"moth/targets{index}.png" for index in range(2)]


def test_objects_and_references_may_be_fewer(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", targets=1)
    assert label(tmp_path, "objects=1", "refs=1").returncode == 0
    assert {row["object"] for row in table_in(tmp_path / "my_data-masks")} == {"1"}


def test_a_preview_takes_no_jobs_place(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", targets=2)
    assert label(tmp_path, "out=mine-preview").returncode == 0
    before = sorted(masks_in(tmp_path / "mine-preview"))
    assert "mine-preview holds a job that is no preview: remove it" in error_of(tmp_path, "out=mine", "--preview", "1")
    assert sorted(masks_in(tmp_path / "mine-preview")) == before
    assert len(before) == 2


def test_a_preview_needs_a_name_and_takes_no_link_for_a_folder(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", targets=1)
    work = tmp_path / "work"
    work.mkdir()
    assert "out=/ has no name" in error_of(tmp_path, "out=/", "--preview", "1")
    words = ("data.root=../my_data", "out=.", "--preview", "1")
    assert label(work, *words).returncode == 0
    assert len(masks_in(tmp_path / "work-preview")) == 1
    (tmp_path / "work-preview" / "mine").symlink_to(tmp_path / "my_data")
    assert label(work, *words).returncode == 0
    assert (tmp_path / "my_data" / "specimen000").is_dir()


# --- what is refused -----------------------------------------------------------------------------------------------


def test_folders_that_are_not_a_jobs_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "my_data")
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
def test_masks_never_go_into_the_input(tmp_path: Path, out: str) -> None:
    data = draw(tmp_path / "my_data")
    (tmp_path / "link").symlink_to(data)
    before = sorted(data.rglob("*"))
    assert "where pictures are read from" in error_of(tmp_path, f"out={out}")
    assert sorted(data.rglob("*")) == before


def test_a_second_run_into_a_folder_is_refused(tmp_path: Path, finished: Path) -> None:
    with locked(finished):
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
def test_bad_input_is_one_sentence(tmp_path: Path, words: list[str], named: str) -> None:
    draw(tmp_path / "my_data")
    assert named in error_of(tmp_path, *words)
    assert not (tmp_path / "my_data-masks").exists() or masks_in(tmp_path / "my_data-masks") == {}


def test_data_without_a_folder_is_refused(tmp_path: Path) -> None:
    assert "data=folder" in complaint(run_here(tmp_path, command=main).stderr)
