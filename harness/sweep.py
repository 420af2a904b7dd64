"""The sweep: points in order, one shared workload after another, every result on disk as soon as it is there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
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
    run.write_json(
        "plan.json", [{"point": point.name, "command": point.command, "options": point.options} for point in points]
    )
    refused: list[UserError] = []
    for _, sharing in groupby(points, key=lambda point: point.workload):
        refused += _run_workload(list(sharing), run, progress)
    if refused:
        raise refused[0]


def _run_workload(points: list[Point], run: RunFolder, progress: Progress) -> list[UserError]:
    """Measure points that share a workload; where it can't be made, that is how they all end."""
    refused: list[UserError] = []

    def end(result: PointResult, error: Exception | None) -> None:
        if isinstance(error, UserError):
            refused.append(error)
        run.add(result)
        progress.end(result.row)

    with tempfile.TemporaryDirectory(prefix="sambatch-") as folder:
        progress.begin(points[0].name)
        try:
            workload = _encode(points[0], Path(folder), progress)
        except Exception as error:
            for point in points:
                end(_failed(point, None, error), error)
            return refused
        pictures = PictureBook(run.path, targets=points[0].config.pictures)
        for point in points:
            progress.begin(point.name)
            try:
                result, failure = _measure(point, workload, pictures), None
            except Exception as error:  # a strategy may raise anything, and no point ends the sweep
                result, failure = _failed(point, workload, error), error
            end(result, failure)
    return refused


def _measure(point: Point, workload: Workload, pictures: PictureBook) -> PointResult:
    if point.config.batch > workload.largest_group:
        reason = (
            f"batch={point.config.batch} is more than the {workload.largest_group} targets of the largest group; "
            "raise targets= or lower batch="
        )
        return _ended(point, workload, "skipped", reason)
    return measure_point(point, workload, pictures)


def _failed(point: Point, workload: Workload | None, error: Exception) -> PointResult:
    if isinstance(error, UserError):
        return _ended(point, workload, "skipped", str(error))
    first = (str(error).strip() or "no message").splitlines()[0]
    status = "oom" if _out_of_memory(error) else "crash"
    return _ended(point, workload, status, f"{type(error).__name__}: {first}")


def _out_of_memory(error: Exception) -> bool:
    """torch has a class of its own for GPUs only; its CPU allocator says it in words."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _ended(point: Point, workload: Workload | None, status: str, reason: str) -> PointResult:
    return PointResult(row=describe(point, workload) | {"status": status, "reason": reason}, config=point.options)


def _encode(point: Point, folder: Path, progress: Progress) -> Workload:
    config = point.config
    progress.stage("loading the model")
    torch.backends.cudnn.allow_tf32 = False  # on by default, and fp32 should mean fp32
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
