"""Folders of drawn pictures for ``python -m harness.label``, and what a job leaves."""

from __future__ import annotations

import csv
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.commands.label import main
from harness.data.group import Group
from harness.data.synthetic import synthetic_groups
from harness.job.calibrate import TIMING
from harness.pipeline.finish import Finished, finish
from strategies import Direct, Tracker
from tests.support.harness_runs import complaint, run_here

SIZE = (96, 128)
PALETTE = bytes(value for index in range(256) for value in (255 - index, index, 7 * index % 256))
BRIEF = replace(TIMING, min_seconds=0.0, max_seconds=0.2, warmup_seconds=0.0, block_seconds=0.0)
"""How a calibration is timed where no test asks what is faster."""


def draw(root: Path, *, groups: int = 1, targets: int = 5, objects: int = 3, truths: int = 0) -> Path:
    """Write groups in the layout of a user's folder; masks have `PALETTE`."""
    for path, content in _drawn(groups, targets, objects, truths).items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@cache
def _drawn(groups: int, targets: int, objects: int, truths: int) -> dict[str, bytes]:
    """The content of every file, which is drawn once however many tests need it."""
    files: dict[str, bytes] = {}
    for group in synthetic_groups(count=groups, references=2, targets=targets, objects=objects, size=SIZE, seed=0):
        for kind, frames in (("refs", group.references), ("targets", group.targets)):
            for index, frame in enumerate(frames):
                image = Image.fromarray(frame.image())
                files[f"{group.name}/{kind}/{index}.jpg"] = _encoded(image, "JPEG", quality=90)
        for kind, frames in (("refs", group.references), ("truth", group.targets[:truths])):
            for index, frame in enumerate(frames):
                assert frame.labels is not None
                labels = Image.fromarray(frame.labels().astype(np.uint8))
                labels.putpalette(PALETTE)
                files[f"{group.name}/{kind}/{index}.png"] = _encoded(labels, "PNG")
    return files


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def label(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``python -m harness.label data=folder data.root=my_data ...`` in this process; an option that is given wins."""
    given = {word.partition("=")[0] for word in words}
    usual = {"data": "folder", "data.root": "my_data", "label.review": "0", "strategy": "direct", "batch": "2"}
    options = [f"{name}={value}" for name, value in usual.items() if name not in given]
    return run_here(folder, *options, *words, command=main)


def error_of(folder: Path, *words: str) -> str:
    """What a job that is refused says."""
    ended = label(folder, *words)
    assert ended.returncode == 2
    return complaint(ended.stderr)


def interrupted_after(count: int) -> Callable[..., Finished]:
    """What finishes so many masks, and is cut off at the next."""
    left = iter(range(count))

    def finish_or_end(*arguments: Any, **options: Any) -> Finished:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return finish(*arguments, **options)

    return finish_or_end


def masks_in(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*.png"))}


def table_in(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def by_hand(model: Tracker, group: Group, *, batch: int) -> list[np.ndarray]:
    """What the library gives for a group, in a user's own loop."""
    with Direct(model) as strategy:
        labels = [frame.labels() for frame in group.references if frame.labels is not None]
        strategy.prepare(model.references([frame.image() for frame in group.references], labels, group.object_ids))
        found = []
        for start in range(0, len(group.targets), batch):
            images = [target.image() for target in group.targets[start : start + batch]]
            predictions = strategy.predict(model.encode(images))
            found += [predictions.label_map(at, size=SIZE).numpy() for at in range(len(images))]
    return found
