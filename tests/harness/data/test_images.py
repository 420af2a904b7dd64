"""Pictures and label maps from files (harness/data/images.py)."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from harness.data.images import is_reducible, picture_size, read_image, read_labels, read_reduced
from strategies.errors import UserError
from tests.support.pictures import (
    BLUE,
    GREEN,
    RED,
    SIZE,
    WHITE,
    assert_one_sentence,
    corners,
    halve,
    labels_with,
    write_picture,
)

# --- pictures ------------------------------------------------------------------------------------------------------


def quarters(picture: np.ndarray) -> list[tuple[int, ...]]:
    """Return the colours in the middle of the four quarters, row by row."""
    height, width = picture.shape[:2]
    return [tuple(picture[y, x].tolist()) for y in (height // 4, height * 3 // 4) for x in (width // 4, width * 3 // 4)]


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize(
    ("orientation", "size", "expected"),
    [
        (None, SIZE, [RED, GREEN, BLUE, WHITE]),
        (1, SIZE, [RED, GREEN, BLUE, WHITE]),
        (3, SIZE, [WHITE, BLUE, GREEN, RED]),
        (6, SIZE[::-1], [BLUE, RED, WHITE, GREEN]),
        (8, SIZE[::-1], [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_pictures_are_turned_as_displayed(
    tmp_path: Path, suffix: str, orientation: int | None, size: tuple[int, int], expected: list[tuple[int, ...]]
) -> None:
    path = tmp_path / f"picture.{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(corners()).save(path, exif=exif, lossless=True)
    assert read_image(path).shape == (*size, 3)
    assert picture_size(path) == size
    assert quarters(read_image(path)) == expected


@pytest.mark.parametrize("orientation", [6, 8])
def test_rotated_jpegs_keep_their_size_and_colours(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "phone.JPG"
    write_picture(path, orientation=orientation)
    assert read_image(path).shape == (*SIZE[::-1], 3)
    assert picture_size(path) == SIZE[::-1]
    corner = read_image(path)[5, -6] if orientation == 6 else read_image(path)[-6, 5]
    assert corner[0] > 200 > 60 > max(corner[1:])  # A viewer shows the red quarter there.


@pytest.mark.parametrize(("mode", "suffix"), [("RGBA", "png"), ("RGBA", "tif"), ("CMYK", "tif"), ("CMYK", "jpg")])
def test_colour_modes_give_the_same_picture(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    image = Image.fromarray(corners()).convert(mode)
    if mode == "RGBA":
        image.putalpha(40)
    image.save(path, quality=95, subsampling=0)
    np.testing.assert_allclose(read_image(path).astype(int), corners(), atol=12 if suffix == "jpg" else 0)


def test_palette_pictures_give_their_colours_without_warnings(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(corners()).quantize(4).save(path, transparency=bytes([0, 80, 255, 255]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(path), corners())


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_grey_of_8_and_16_bits_is_the_same(tmp_path: Path, suffix: str) -> None:
    grey = np.arange(SIZE[0] * SIZE[1], dtype=np.uint16).reshape(SIZE) % 256
    Image.fromarray(grey.astype(np.uint8)).save(tmp_path / f"8.{suffix}")
    Image.fromarray(grey * 257).save(tmp_path / f"16.{suffix}")
    eight, sixteen = read_image(tmp_path / f"8.{suffix}"), read_image(tmp_path / f"16.{suffix}")
    assert sixteen.shape == (*SIZE, 3)
    np.testing.assert_array_equal(eight, sixteen)
    np.testing.assert_array_equal(eight[..., 0], grey)


@pytest.mark.parametrize("values", [np.ones(SIZE, dtype=np.float32), np.full(SIZE, 1 << 20, dtype=np.int32)])
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    path = tmp_path / "scan.tif"
    Image.fromarray(values).save(path)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert_one_sentence(error.value, str(path), "16 bits")


@pytest.mark.parametrize("read", [read_image, read_labels])
@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (halve, "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_text("not a picture"), "damaged"),
        (lambda path: path.unlink(), "No such file"),
        (lambda path: (path.unlink(), path.mkdir()), "Is a directory"),
    ],
)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp"])
def test_unreadable_files_are_one_sentence(
    tmp_path: Path, suffix: str, spoil: Callable[[Path], object], named: str, read: Callable[[Path], np.ndarray]
) -> None:
    path = tmp_path / f"broken.{suffix}"
    Image.fromarray(labels_with(1)).save(path)
    spoil(path)
    with pytest.raises(UserError) as error:
        read(path)
    assert_one_sentence(error.value, str(path), named)


@pytest.mark.parametrize("read", [read_image, read_labels, picture_size])
def test_a_damaged_header_is_one_sentence_whatever_error_it_leads_to(
    tmp_path: Path, read: Callable[[Path], object]
) -> None:
    """Where the place of its pixels is a fraction, Pillow raises TypeError."""
    path = tmp_path / "broken.tif"
    Image.fromarray(labels_with(1)).save(path)
    place, whole, fraction = (struct.pack("<H", number) for number in (273, 4, 11))
    assert place + whole in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(place + whole, place + fraction))
    with pytest.raises(UserError) as error:
        read(path)
    assert_one_sentence(error.value, str(path), "damaged")


def test_a_picture_that_memory_is_not_enough_for_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.png"
    write_picture(path)

    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Image, "open", refuse)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert_one_sentence(error.value, str(path), "memory")


def test_huge_pictures_are_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    write_picture(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError) as error:
        read_image(path)
    assert_one_sentence(error.value, str(path), "200")


# --- at a fraction ---------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 400), st.integers(1, 400)),
    side=st.integers(1, 130),
    orientation=st.sampled_from([None, *range(1, 9)]),
    mode=st.sampled_from(["RGB", "L", "CMYK"]),
)
def test_a_jpeg_is_decoded_at_the_smallest_fraction_that_is_not_below_the_side(
    tmp_path_factory: pytest.TempPathFactory, size: tuple[int, int], side: int, orientation: int | None, mode: str
) -> None:
    path = tmp_path_factory.mktemp("fraction") / "picture.jpg"
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(corners()).resize(size[::-1]).convert(mode).save(path, exif=exif)
    whole = read_image(path)
    image, displayed = read_reduced(path, side=side)
    assert displayed == whole.shape[:2] == picture_size(path)
    fractions = [part for part in (8, 4, 2, 1) if min(size) // part >= side or part == 1]
    assert image.shape == (*(-(-length // fractions[0]) for length in displayed), 3)
    assert min(image.shape[:2]) >= min(side, *size)
    assert is_reducible(path, side=side) == (fractions[0] > 1)
    if fractions[0] == 1:
        np.testing.assert_array_equal(image, whole)
    elif min(image.shape[:2]) >= 8:
        np.testing.assert_allclose(quarters(image), quarters(whole), atol=40)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "webp"])
@pytest.mark.parametrize("orientation", [None, 6])
def test_other_formats_are_read_as_ever(tmp_path: Path, suffix: str, orientation: int | None) -> None:
    path = tmp_path / f"picture.{suffix}"
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(corners()).save(path, exif=exif, lossless=True)
    image, displayed = read_reduced(path, side=3)
    np.testing.assert_array_equal(image, read_image(path))
    assert displayed == picture_size(path)
    assert not is_reducible(path, side=3)


def test_a_damaged_jpeg_is_refused_at_a_fraction_too(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    write_picture(path, size=(240, 400))
    halve(path)
    with pytest.raises(UserError) as error:
        read_reduced(path, side=20)
    assert_one_sentence(error.value, str(path), "damaged")


# --- label maps ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
def test_greyscale_masks_hold_their_values(tmp_path: Path, dtype: type) -> None:
    path = tmp_path / "mask.tif"
    Image.fromarray(labels_with(1, 7, 255).astype(dtype)).save(path)
    labels = read_labels(path)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, labels_with(1, 7, 255))


def test_few_indices_stay_indices(tmp_path: Path) -> None:
    """Indexed PNGs of few colours are stored with 1, 2 or 4 bits a pixel."""
    for colours in (2, 4, 16):
        image = Image.fromarray(labels_with(1, colours - 1))
        image.putpalette([37 * value % 256 for value in range(3 * colours)])
        image.save(tmp_path / "mask.png")
        np.testing.assert_array_equal(read_labels(tmp_path / "mask.png"), labels_with(1, colours - 1))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_masks_are_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(labels_with(1)).convert(mode).save(path)
    with pytest.raises(UserError) as error:
        read_labels(path)
    assert_one_sentence(error.value, str(path), mode, "indexed or greyscale")


def test_ids_above_255_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    Image.fromarray(labels_with(1).astype(np.uint16) * 300).save(path)
    with pytest.raises(UserError) as error:
        read_labels(path)
    assert_one_sentence(error.value, str(path), "300")
