"""Folders of drawn pictures for ``python -m harness.label``, and what a job leaves."""

from __future__ import annotations

import csv
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image

from harness.commands.label import main
from harness.data.synthetic import synthetic_groups
from tests.support.harness_runs import run_here

SIZE = (96, 128)
PALETTE = bytes(value for index in range(256) for value in (255 - index, index, 7 * index % 256))


def draw(root: Path, *, groups: int = 1, targets: int = 5, objects: int = 3, truths: int = 0) -> Path:
    """Write groups in the layout of a user's folder; masks have `PALETTE`."""
    for group in synthetic_groups(count=groups, references=2, targets=targets, objects=objects, size=SIZE, seed=0):
        for kind, frames in (("refs", group.references), ("targets", group.targets)):
            (root / group.name / kind).mkdir(parents=True)
            for index, frame in enumerate(frames):
                Image.fromarray(frame.image()).save(root / group.name / kind / f"{index}.jpg", quality=90)
        for kind, frames in (("refs", group.references), ("truth", group.targets[:truths])):
            for index, frame in enumerate(frames):
                assert frame.labels is not None
                image = Image.fromarray(frame.labels().astype(np.uint8))
                image.putpalette(PALETTE)
                (root / group.name / kind).mkdir(exist_ok=True)
                image.save(root / group.name / kind / f"{index}.png")
    return root


def label(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m harness.label data=folder data.root=my_data ...`` in this process; an option that is given wins."""
    given = {word.partition("=")[0] for word in words}
    usual = {"data": "folder", "data.root": "my_data", "label.review": "0", "strategy": "direct", "batch": "2"}
    options = [f"{name}={value}" for name, value in usual.items() if name not in given]
    return run_here(folder, *options, *words, command=main)


def masks_in(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.png"))}


def table_in(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
