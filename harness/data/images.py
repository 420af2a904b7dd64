"""Pictures and label maps from files, and what the values of a label map mean.

A picture is read as it is displayed: its EXIF rotation is applied, and its mask has the size that it has then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from strategies.errors import UserError
from strategies.vocabulary import VOID

BAND = 64
"""Rows that are copied at once."""
QUARTER_TURNS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""


def read_image(path: Path) -> np.ndarray:
    """Read a picture as uint8 ``[height, width, 3]``; raises `UserError` where the file cannot be read.

    Greyscale of 16 bits keeps its upper 8 bits, transparency is dropped, and only the first of several pages is read.
    """
    with _opened(path) as shown:
        return _as_displayed(shown, path)


def read_reduced(path: Path, *, side: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Read a picture as `read_image` does, but a JPEG at the smallest fraction of its size that is not below ``side``.

    The fractions are JPEG's own: a half, a quarter and an eighth; at none of them is the picture narrower or lower than
    ``side`` pixels. Returns it with the height and width of the whole picture as displayed.
    """
    with _opened(path) as shown:
        whole = _at_a_fraction(shown, side)
        image = _as_displayed(shown, path)
    return image, whole or (image.shape[0], image.shape[1])


def is_reducible(path: Path, *, side: int) -> bool:
    """Return whether `read_reduced` reads a picture at a fraction of its size, as its header tells."""
    with _opened(path) as shown:
        return _at_a_fraction(shown, side) is not None


def _at_a_fraction(shown: Image.Image, side: int) -> tuple[int, int] | None:
    """Have an opened picture decoded at a fraction, and return the height and width that all of it has as displayed.

    None where it has no fraction that is large enough; then nothing is changed.
    """
    if min(shown.size) < 2 * side:
        return None
    width, height = shown.size
    shown.draft(None, (side, side))  # Pillow has it for JPEGs, and leaves other pictures as they are.
    if shown.size == (width, height):
        return None
    return (width, height) if _is_turned(shown) else (height, width)


def _as_displayed(shown: Image.Image, path: Path) -> np.ndarray:
    ImageOps.exif_transpose(shown, in_place=True)  # A copy of 24 megapixels takes as long as resizing them.
    if shown.mode == "F":
        raise UserError(f"{path} has floating-point pixels: save it with 8 or 16 bits per channel")
    if shown.mode.startswith("I"):
        grey = np.asarray(shown)
        if grey.min() < 0 or grey.max() > 0xFFFF:
            raise UserError(f"{path} has values beyond 16 bits: save it with 8 or 16 bits per channel")
        return np.repeat((grey >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if shown.mode == "P":  # Pillow warns about palettes with transparency that become RGB at once.
        shown = shown.convert("RGBA")
    return _in_bands(shown if shown.mode == "RGB" else shown.convert("RGB"))


def _in_bands(image: Image.Image) -> np.ndarray:
    """Copy a picture of red, green and blue in bands that a cache holds.

    At 24 megapixels that takes half as long as at once, which makes a string of all bytes first.
    """
    pixels = np.empty((image.height, image.width, 3), dtype=np.uint8)
    for top in range(0, image.height, BAND):
        bottom = min(top + BAND, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def read_palette(path: Path) -> bytes | None:
    """Return the colours of an indexed picture, three bytes for each index; None where it has none."""
    with _opened(path) as image:
        palette = image.getpalette("RGB")
    return None if palette is None else bytes(palette)


def read_labels(path: Path) -> np.ndarray:
    """Read a mask's ids as uint8 ``[height, width]``: an indexed picture's indices, or a greyscale picture's values.

    White of a 1-bit picture is 255. Raises `UserError` where the file cannot be read, has colours or values above 255.
    """
    with _opened(path) as image:
        shown = ImageOps.exif_transpose(image)
        if shown.mode == "1":
            shown = shown.convert("L")
        if shown.mode not in ("P", "L") and not shown.mode.startswith("I"):
            raise UserError(
                f"{path} is a colour picture ({shown.mode}) and not a label map: "
                "save the mask as an indexed or greyscale PNG whose values are the object ids"
            )
        values = np.asarray(shown)
        if values.dtype != np.uint8 and (values.min() < 0 or values.max() > VOID):
            worst = values.min() if values.min() < 0 else values.max()
            raise UserError(f"{path} holds the id {worst}: number the objects 1 to {VOID - 1} ({VOID} is void)")
        return values.astype(np.uint8)


def picture_size(path: Path) -> tuple[int, int]:
    """Return (height, width) as displayed, read from the header where the format allows it."""
    with _opened(path) as image:
        if image.format == "TIFF":
            image.load()  # Pillow turns TIFF by itself, and older versions do so only when they read the pixels.
            turned = False
        else:
            turned = _is_turned(image)
        return (image.width, image.height) if turned else (image.height, image.width)


def read_labels_of(picture: Path, mask: Path, *, binary: bool = False) -> np.ndarray:
    """Read the labels of a mask, which must be as large as its picture; with ``binary`` 255 becomes id 1."""
    labels = read_labels(mask)
    expected = picture_size(picture)
    if labels.shape != expected:
        turned = labels.shape == expected[::-1]
        raise UserError(
            f"{mask} is {_in_words(labels.shape)} but its picture {picture} is {_in_words(expected)} as displayed: "
            + (
                "paint the mask on the picture as displayed, EXIF rotation included"
                if turned
                else "save the two at one size"
            )
        )
    if binary:
        labels[labels == VOID] = 1
    return labels


def values_in(labels: np.ndarray) -> set[int]:
    """Return the values other than 0 of a uint8 label map."""
    return set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) - {0}


def reference_objects(pairs: Sequence[tuple[Path, Path]]) -> tuple[list[set[int]], bool]:
    """Return the object ids in each (picture, mask) of a group's references, and whether their masks are binary.

    The value 255 is void, unless no reference has a value in 1..254: masks of one object are commonly saved as black
    and white (DAVIS 2016 does), and there 255 is object 1. Raises `UserError` for a mask without an object or of a
    wrong size.
    """
    values = [values_in(read_labels_of(picture, mask)) for picture, mask in pairs]
    binary = set().union(*values) == {VOID}
    ids = [{1} if binary and found else found - {VOID} for found in values]
    for (_, mask), found in zip(pairs, ids, strict=True):
        if not found:
            raise UserError(
                f"{mask} holds no object, so it cannot label a reference: "
                f"paint each object with its id, 1 to {VOID - 1}, or take another reference"
            )
    return ids, binary


def check_count(option: str, count: int, *, available: int, what: str) -> None:
    """Raise `UserError` unless ``count`` is at least 1 and at most ``available``, the number of ``what``."""
    if not 1 <= count <= available:
        possible = "1" if available == 1 else f"1 to {available}"
        raise UserError(f"{option}={count} cannot be had: the number of {what} is {available}, so ask for {possible}")


def _is_turned(image: Image.Image) -> bool:
    return image.getexif().get(ExifTags.Base.Orientation) in QUARTER_TURNS


def _in_words(size: tuple[int, ...]) -> str:
    return f"{size[1]}x{size[0]}"


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open the file with Pillow; whatever goes wrong with it while it is used becomes a `UserError`."""
    try:
        with Image.open(path) as image:
            yield image
    except Image.DecompressionBombError as error:
        raise UserError(
            f"{path} has more pixels than Pillow agrees to read ({2 * (Image.MAX_IMAGE_PIXELS or 0):,}): scale it down"
        ) from error
    except UserError:
        raise
    except MemoryError as error:
        raise UserError(f"{path} takes more memory than there is: scale it down") from error
    except Exception as error:  # Damaged bytes lead Pillow's decoders to errors of nearly every kind.
        if isinstance(error, OSError) and error.strerror:  # Only errors of the operating system have one.
            raise UserError(f"{path} cannot be opened ({error.strerror}): check it and its permissions") from error
        raise UserError(
            f"{path} cannot be read as a picture, it is damaged or of another format: save it again as PNG or JPEG"
        ) from error
