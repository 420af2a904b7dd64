"""Pictures and masks that tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from strategies.errors import UserError

SIZE = (24, 40)
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners() -> np.ndarray:
    """A picture whose four quarters tell how it is turned: red, green / blue, white."""
    height, width = SIZE
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[: height // 2, : width // 2] = RED
    picture[: height // 2, width // 2 :] = GREEN
    picture[height // 2 :, : width // 2] = BLUE
    picture[height // 2 :, width // 2 :] = WHITE
    return picture


def labels_with(*ids: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A label map with one column for each id and background right of them."""
    labels = np.zeros(size, dtype=np.uint8)
    labels[:, : len(ids)] = ids
    return labels


def write_picture(path: Path, *, size: tuple[int, int] = SIZE, orientation: int | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(corners()).resize(size[::-1], Image.Resampling.NEAREST).save(path, exif=exif)


def write_mask(path: Path, *ids: int, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels_with(*ids, size=size))
    image.putpalette([value for index in range(256) for value in (255 - index, index, 7 * index % 256)])
    image.save(path)


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def assert_one_sentence(error: UserError, *named: str) -> None:
    message = str(error)
    assert "\n" not in message
    assert "Traceback" not in message
    assert ". " not in message
    for part in named:
        assert part in message
