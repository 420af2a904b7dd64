"""The sweep: points in order, one shared workload after another, every result on disk as soon as it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path

import torch

from harness.environment import describe_environment
from harness.pictures import PictureBook
from harness.points import Point
from harness.progress import Progress
from harness.results import PointResult, RunFolder
from harness.runner import describe, measure_point
from harness.sources import open_groups
from harness.workload import Workload
from strategies.errors import UserError
from strategies.models import load_model, usable_device


def resolve_device(device: str) -> torch.device:
    """``auto`` is the first CUDA device where there is one, else the CPU; UserError where it is not usable."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return usable_device(device)


def run_sweep(points: Sequence[Point], run: RunFolder, progress: Progress) -> None:
    """Measure all points; those that fail get their status and the sweep goes on.

    Raises UserError, after all other points are done, where a point could not be measured because of its input.
    """
    run.write_json("environment.json", describe_environment(resolve_device(points[0].config.device)))
    run.write_json("plan.json", [{"point": point.name, "command": point.command} for point in points])
    refused: list[UserError] = []
    for _, sharing in groupby(points, key=lambda point: point.workload):
        refused += _run_workload(list(sharing), run, progress)
    if refused:
        raise refused[0]


def _run_workload(points: list[Point], run: RunFolder, progress: Progress) -> list[UserError]:
    refused: list[UserError] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sambatch-")))
        workload: Workload | None = None
        pictures = PictureBook(run.path, targets=points[0].config.pictures)
        for point in points:
            progress.begin(point.name)
            try:
                if workload is None:
                    workload = _encode(point, folder, progress)
                if point.config.batch > workload.largest_group:
                    result = _ended(point, "skipped", _batch_too_large(point, workload))
                else:
                    result = measure_point(point, workload, pictures)
            except UserError as error:
                refused.append(error)
                result = _ended(point, "skipped", str(error))
            except (torch.OutOfMemoryError, MemoryError) as error:
                result = _ended(point, "oom", _sentence(error))
            except Exception as error:  # a strategy may raise anything, and no point ends the sweep
                result = _ended(point, "crash", _sentence(error))
            run.add(result)
            progress.end(result.row)
    return refused


def _encode(point: Point, folder: Path, progress: Progress) -> Workload:
    config = point.config
    progress.stage("loading the model")
    model = load_model(
        config.model.name,
        weights=config.model.weights,
        device=str(resolve_device(config.device)),
        dtype=config.dtype,
        seed=config.seed,
    )
    groups = open_groups(config)
    progress.stage("encoding frames")
    return Workload(model, groups, options=config.encode, folder=folder)


def _batch_too_large(point: Point, workload: Workload) -> str:
    return (
        f"batch={point.config.batch} is more than the {workload.largest_group} targets of the largest group; "
        "raise targets= or lower batch="
    )


def _ended(point: Point, status: str, reason: str) -> PointResult:
    return PointResult(row=describe(point) | {"status": status, "reason": reason}, config=point.options)


def _sentence(error: BaseException) -> str:
    first = (str(error).strip() or "no message").splitlines()[0]
    return f"{type(error).__name__}: {first}"
