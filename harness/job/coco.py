"""All masks of a job as one COCO file, ``annotations.json``, with masks as compressed run lengths (RLE).

It is made of the written masks, so a job that went through several runs has all of them. pycocotools packs the RLE.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.images import read_labels
from harness.pipeline.finish import box_of
from harness.pipeline.ledger import Labelled, Ledger
from harness.store.atomic import whole_file
from strategies.errors import UserError


def check_coco() -> None:
    """Raise UserError where what packs the masks is not installed."""
    if find_spec("pycocotools") is None:
        raise UserError("format=coco needs pycocotools, which is not installed: pip install 'sambatch[coco]'")


def write_coco(ledger: Ledger, out: Path) -> None:
    """Write the file, an image at a time. A category is an object of a group, because ids mean nothing across groups.

    ``file_name`` is ``<group>/<picture>``; a category's ``object`` is the id in the masks. Objects that are absent have
    no annotation. Areas and boxes are those of the masks as they are, which people may have corrected meanwhile; masks
    that were removed since are left out. Raises UserError where a mask can't be read.
    """
    categories: dict[tuple[str, int], int] = {}
    with whole_file(out / "annotations.json") as file:
        for number, piece in enumerate(_pieces(ledger, out, categories)):
            file.write((b"" if number == 0 else b"\n") + piece.encode())


def _pieces(ledger: Ledger, out: Path, categories: dict[tuple[str, int], int]) -> Iterator[str]:
    """Yield the file's text. Images go before annotations, so the ledger is read twice and nothing is held."""
    yield '{"images": ['
    images = (_image(number, rows[0]) for number, rows in enumerate(_targets(ledger, out), start=1))
    yield from _joined(images)
    yield '], "annotations": ['
    yield from _joined(_annotations(ledger, out, categories))
    yield '], "categories": ['
    listed = ({"id": at, "name": f"{group}/{one}", "object": one} for (group, one), at in categories.items())
    yield from _joined(listed)
    yield "]}"


def _targets(ledger: Ledger, out: Path) -> Iterator[list[Labelled]]:
    for _, rows in groupby(ledger.rows(), key=lambda row: (row.group, row.target)):
        listed = list(rows)
        if (out / listed[0].mask).is_file():
            yield listed


def _image(number: int, row: Labelled) -> dict[str, Any]:
    return {
        "id": number,
        "file_name": f"{row.group}/{row.picture}",
        "width": row.picture_width,
        "height": row.picture_height,
    }


def _annotations(ledger: Ledger, out: Path, categories: dict[tuple[str, int], int]) -> Iterator[dict[str, Any]]:
    from pycocotools.mask import encode

    number = 0
    for image, rows in enumerate(_targets(ledger, out), start=1):
        labels = _labels(out / rows[0].mask)
        for row in rows:
            category = categories.setdefault((row.group, row.object), len(categories) + 1)
            mask = labels == row.object
            area, *box = box_of(mask)
            if not area:
                continue
            number += 1
            packed = encode(np.asfortranarray(mask, dtype=np.uint8))
            yield {
                "id": number,
                "image_id": image,
                "category_id": category,
                "segmentation": {"size": packed["size"], "counts": packed["counts"].decode("ascii")},
                "area": area,
                "bbox": box,
                "iscrowd": 0,
                "score": row.confidence,
            }


def _labels(mask: Path) -> np.ndarray:
    try:
        return read_labels(mask)
    except UserError as error:
        raise UserError(f"{error}, or remove it, and the same command makes it again") from error


def _joined(entries: Iterator[dict[str, Any]]) -> Iterator[str]:
    """Yield entries as JSON, with a comma before each but the first."""
    for number, entry in enumerate(entries):
        yield f"{',' if number else ''}{json.dumps(entry)}"
