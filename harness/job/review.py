"""``review.html``: the targets of lowest confidence first, their masks laid over thumbnails, in one file."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, StrictUndefined
from PIL import Image

from harness.data.group import Frame
from harness.data.images import read_labels
from harness.pipeline.decoding import read_target
from harness.pipeline.ledger import Labelled, Ledger
from harness.pipeline.plan import Work
from harness.store.atomic import whole_file
from strategies.errors import UserError

SIDE = 320
"""Pixels of a thumbnail's longer side."""
OPACITY = 0.5


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One target as the page shows it. picture: a JPEG in base64."""

    group: str
    target: str
    mask: str
    picture: str
    width: int
    height: int
    objects: Sequence[Labelled]
    colours: Mapping[int, str]

    @property
    def confidence(self) -> float:
        return min(one.confidence for one in self.objects)

    @property
    def ids(self) -> str:
        """The ids of its objects that are to be looked at, as the page filters by them."""
        return " ".join(str(one.object) for one in self.objects)


def write_review(ledger: Ledger, plan: Sequence[Work], out: Path, *, count: int, title: str) -> None:
    """Write the page of the ``count`` targets of lowest confidence; targets without picture or mask are left out."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = (files("harness.job") / "templates" / "review.html").read_text(encoding="utf-8")
    works = {work.group.name: work for work in plan}
    worst = [rows for rows in ledger.least_confident(count) if rows[0].group in works]
    page = environment.from_string(text).stream(
        title=title,
        groups=sorted({rows[0].group for rows in worst}),
        objects=sorted({row.object for rows in worst for row in rows}),
        targets=_shown(worst, works, out),
    )
    with whole_file(out / "review.html") as file:
        page.dump(file, encoding="utf-8", errors="backslashreplace")


def _shown(worst: Sequence[list[Labelled]], works: Mapping[str, Work], out: Path) -> Iterator[Shown]:
    for rows in worst:
        work = works[rows[0].group]
        palette = np.frombuffer(work.palette().ljust(768, b"\0"), dtype=np.uint8).reshape(-1, 3)
        frame = next((target for target in work.group.targets if target.name == rows[0].target), None)
        if frame is None:
            continue
        try:
            picture, (width, height) = _thumbnail(frame, out / rows[0].mask, palette)
        except UserError:  # It was removed meanwhile, or masks were: what is left can be looked at.
            continue
        yield Shown(
            group=rows[0].group,
            target=rows[0].target,
            mask=rows[0].mask,
            picture=base64.b64encode(picture).decode("ascii"),
            width=width,
            height=height,
            objects=rows,
            colours={row.object: "#" + bytes(palette[row.object]).hex() for row in rows},
        )


def _thumbnail(frame: Frame, mask: Path, palette: npt.NDArray[np.uint8]) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG of the picture with its mask laid over it, and its width and height."""
    image = Image.fromarray(read_target(frame, side=SIDE)[0])
    image.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0)
    labels = np.array(Image.fromarray(read_labels(mask)).resize(image.size, Image.Resampling.NEAREST))
    pixels = np.array(image)
    inside = labels > 0
    pixels[inside] = (1 - OPACITY) * pixels[inside] + OPACITY * palette[labels[inside]]
    content = BytesIO()
    Image.fromarray(pixels).save(content, format="JPEG", quality=80)
    return content.getvalue(), image.size
