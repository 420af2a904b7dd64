"""``python -m harness.label decode=fast`` and its encoder's options: what they change, and that the job says it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from harness.data import images
from harness.job import encoding
from harness.pipeline import decoding
from strategies import load_model
from tests.harness.workload.test_encoder_check import compiled_into, times
from tests.support.jobs import draw, error_of, label, masks_in, table_in
from tests.support.pictures import halve

LINE = r"decode=fast: IoU of masks with decode=exact over (\d+) targets: mean (\d\.\d+), least (\d\.\d+)"
LARGE = (2000, 3000)


def enlarge(folder: Path, size: tuple[int, int], *, suffix: str = ".jpg", orientation: int | None = None) -> None:
    """Write a group's targets anew at another size; with an orientation, turned in the file and back by its EXIF."""
    for path in sorted(folder.glob("*.jpg")):
        picture = Image.open(path).resize(size[::-1], Image.Resampling.BICUBIC)
        path.unlink()
        exif = Image.Exif()
        if orientation == 6:
            picture, exif[ExifTags.Base.Orientation] = picture.transpose(Image.Transpose.ROTATE_90), 6
        picture.save(path.with_suffix(suffix), quality=92, exif=exif)


def similar(ended_out: str) -> tuple[int, float, float]:
    """The number of targets, the mean and the least IoU that a job tells."""
    ((targets, mean, least),) = re.findall(LINE, ended_out)
    return int(targets), float(mean), float(least)


def ious(folder: Path, one: str, other: str) -> list[float]:
    """IoU of each object in each target of two folders of masks."""
    found = []
    for row in table_in(folder / one):
        first, second = (np.array(Image.open(folder / out / row["mask"])) == int(row["object"]) for out in (one, other))
        union = (first | second).sum()
        found.append((first & second).sum() / union if union else 1.0)
    return found


@pytest.mark.slow
def test_fast_decodes_less_and_what_it_says_of_its_masks_is_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three targets of six megapixels are all that are compared, so the line can be computed again from the masks."""
    data = draw(tmp_path / "my_data", targets=3)
    enlarge(data / "specimen000" / "targets", LARGE)
    assert "decode=fast" not in label(tmp_path, "out=exact").stdout
    side = load_model("toy").side
    shapes: list[tuple[int, ...]] = []
    real = decoding.read_reduced

    def noted(path: Path, *, side: int) -> tuple[np.ndarray, tuple[int, int]]:
        image, size = real(path, side=side)
        shapes.append(image.shape)
        return image, size

    monkeypatch.setattr(decoding, "read_reduced", noted)
    ended = label(tmp_path, "out=fast", "decode=fast")
    assert ended.returncode == 0, ended.stderr
    assert set(shapes) == {(LARGE[0] // 8, LARGE[1] // 8, 3)}
    assert min(LARGE) // 8 >= side
    assert {Image.open(path).size for path in (tmp_path / "fast").rglob("*.png")} == {LARGE[::-1]}
    targets, mean, least = similar(ended.stdout)
    measured = ious(tmp_path, "exact", "fast")
    assert (targets, len(measured)) == (3, 9)
    assert mean == pytest.approx(np.mean(measured), abs=1e-3)
    assert least == pytest.approx(min(measured), abs=1e-3)
    assert mean > 0.9, "or a fraction of the picture is not the same picture"
    stored = json.loads((tmp_path / "fast" / "job.json").read_text(encoding="utf-8"))
    assert stored["decoding"] in ended.stdout
    assert stored["options"]["decode"] == "fast"


@pytest.mark.slow
def test_a_picture_that_its_exif_turns_gets_the_mask_of_the_picture_as_displayed(tmp_path: Path) -> None:
    for name, orientation in (("upright", None), ("turned", 6)):
        data = draw(tmp_path / name, targets=2)
        enlarge(data / "specimen000" / "targets", (600, 900), orientation=orientation)
        ended = label(tmp_path, f"data.root={name}", "decode=fast")
        assert ended.returncode == 0, ended.stderr
    assert {Image.open(path).size for path in (tmp_path / "turned-masks").rglob("*.png")} == {(900, 600)}
    assert np.mean(ious(tmp_path, "upright-masks", "turned-masks")) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize(("size", "suffix"), [((255, 900), ".jpg"), ((600, 900), ".png")])
def test_where_it_applies_to_no_picture_masks_stay_and_that_is_said(
    tmp_path: Path, size: tuple[int, int], suffix: str
) -> None:
    data = draw(tmp_path / "my_data", targets=2)
    enlarge(data / "specimen000" / "targets", size, suffix=suffix)
    ended = label(tmp_path, "out=fast", "decode=fast")
    assert "decode=fast: it applied to no picture" in ended.stdout
    label(tmp_path, "out=exact")
    assert masks_in(tmp_path / "fast") == masks_in(tmp_path / "exact")


def test_references_are_decoded_exactly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw(tmp_path / "my_data", targets=1)
    read: list[Path] = []
    real = images.read_reduced
    monkeypatch.setattr(decoding, "read_reduced", lambda path, *, side: (read.append(path), real(path, side=side))[1])
    assert label(tmp_path, "decode=fast").returncode == 0
    assert {path.parent.name for path in read} == {"targets"}
    assert data.name in str(read[0])


def test_the_masks_of_the_first_targets_are_compared_and_no_more(tmp_path: Path) -> None:
    data = draw(tmp_path / "my_data", groups=2, targets=5)
    enlarge(data / "specimen000" / "targets", (300, 400))
    halve(data / "specimen000" / "targets" / "1.jpg")
    ended = label(tmp_path, "decode=fast")
    assert ended.returncode == 1, "a target is broken, which hinders no other"
    assert similar(ended.stdout)[0] == decoding.COMPARED == 4


def test_a_job_that_goes_on_keeps_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = draw(tmp_path / "my_data", targets=2)
    enlarge(data / "specimen000" / "targets", (300, 400))
    before = similar(label(tmp_path, "decode=fast").stdout)

    def never(*_: object, **__: object) -> str:
        raise AssertionError("it was measured before")

    monkeypatch.setattr("harness.job.run.difference_of_masks", never)
    assert similar(label(tmp_path, "decode=fast").stdout) == before


def test_another_way_to_decode_or_encode_is_another_job(tmp_path: Path, finished: Path) -> None:
    for word, was in (
        ("decode=fast", "decode was exact and is fast"),
        ("encode.channels_last=true", "encode.channels_last was false and is true"),
        ("encode.compile=true", "encode.compile was false and is true"),
    ):
        assert was in error_of(tmp_path, word)


def test_a_job_of_an_earlier_version_goes_on(tmp_path: Path, finished: Path) -> None:
    stored = json.loads((finished / "job.json").read_text(encoding="utf-8"))
    for name in ("decode", "encode.compile", "encode.channels_last"):
        del stored["options"][name]
    del stored["decoding"]
    (finished / "job.json").write_text(json.dumps(stored))
    assert "decode was exact and is fast" in error_of(tmp_path, "decode=fast")
    assert label(tmp_path).returncode == 0


def test_an_unknown_way_is_refused(tmp_path: Path) -> None:
    draw(tmp_path / "my_data", targets=1)
    assert "decode=quick is not known; choose one of exact, fast" in error_of(tmp_path, "decode=quick")


# --- the encoder ---------------------------------------------------------------------------------------------------


def test_channels_last_makes_masks_alike_and_the_job_says_how_near_features_are(tmp_path: Path, finished: Path) -> None:
    ended = label(tmp_path, "encode.channels_last=true", "out=other")
    assert ended.returncode == 0, ended.stderr
    assert re.search(
        r"encoder \(channels_last, fp32\): features are [\d.e+-]+ \(rms\) from those of the eager", ended.stdout
    )
    assert min(ious(tmp_path, "my_data-masks", "other")) > 0.99


def test_an_encoder_that_is_too_far_from_fp32_labels_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "my_data", targets=1)
    compiled_into(monkeypatch, times(1.01))
    assert "encode.compile=true" in error_of(tmp_path, "encode.compile=true")
    assert masks_in(tmp_path / "my_data-masks") == {}


def test_what_is_compiled_is_given_full_batches(
    tmp_path: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing else changes where what is compiled computes the same."""
    compiled_into(monkeypatch, lambda features: features)
    assert label(tmp_path, "encode.compile=true", "out=other").returncode == 0
    assert min(ious(tmp_path, "my_data-masks", "other")) > 0.99


@pytest.mark.slow
def test_after_long_work_the_encoders_share_of_the_matrix_rate_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw(tmp_path / "my_data", targets=2)
    assert "matrix rate" not in label(tmp_path, "out=short").stdout
    monkeypatch.setattr(encoding, "LONG", 0.0)
    assert re.search(r"encoder: [\d.]+ frames/s alone, \d+% of the matrix rate", label(tmp_path).stdout)
