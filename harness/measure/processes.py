"""One result of a point that several processes timed (DESIGN section 4, rule 5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from harness.measure.columns import contention_columns, cost_columns, ratio_details, speedup_columns
from harness.measure.pooled import Pooled, Timed
from harness.observe.contention import Contention
from harness.options.points import Point
from harness.result import Block, PointResult
from harness.row import SPEEDUP
from harness.schema import Count, Number, fitted

OF_EACH = ("contention", "setup_seconds", "agreement_of_timed_blocks")
"""Details that are kept of each process."""


@dataclass(frozen=True, kw_only=True)
class _Details:
    """What `together` needs of a result's details, as JSON has it."""

    timed_targets: dict[str, Count]
    log_ratios: dict[str, list[Number]]
    contention: dict[str, Any] | None


def usable(point: Point, result: PointResult) -> bool:
    """Return whether a result that was read back can be merged: its file may have been edited."""
    try:
        details = fitted(_Details, result.details)
        if details.contention is not None:
            Contention.from_json(details.contention)
        timed = Timed(blocks=result.samples, log_ratios=details.log_ratios)
        Pooled.of([timed], details.timed_targets, point.config.timing, seed=point.config.seed)
    except (ValueError, ArithmeticError, LookupError):
        return False
    return result.row.status == "ok" and bool(result.row.fps)


def together(point: Point, found: Mapping[int, PointResult]) -> PointResult:
    """Merge what processes of a point found, by their numbers; process 0 verified the masks.

    One that is not ``ok`` decides how the point ended.
    """
    results = [found[number] for number in sorted(found)]
    first = results[0]
    if len(results) == 1:
        return first
    for number, one in found.items():
        if one.row.status != "ok":
            where = f"in process {number + 1} of {point.config.timing.processes}"
            return replace(one, row=replace(one.row, reason=f"{where}: {one.row.reason}"))
    targets: dict[str, int] = first.details["timed_targets"]
    timed = [Timed(blocks=one.samples, log_ratios=one.details["log_ratios"]) for one in results]
    pooled = Pooled.of(timed, targets, point.config.timing, seed=point.config.seed)
    contention = _contention(results)
    columns: dict[str, Any] = {
        **contention_columns(contention),
        **dict.fromkeys(SPEEDUP),
        **speedup_columns(pooled.speedup, point.config.timing.same),
        **_of_fps(point, first, pooled.fps),
    }
    row = replace(
        first.row,
        reason=next((one.row.reason for one in results if one.row.reason is not None), None),
        fps=pooled.fps,
        cpu_s_per_1000=1000 * pooled.cpu_seconds_per_target,
        blocks=sum(len(one.samples) for one in results),
        processes=len(results),
        converged=pooled.converged,
        checked_calls=_total([one.row.checked_calls for one in results]),
        job_iou_mean=_of_known(fmean, [one.row.job_iou_mean for one in results]),
        job_iou_min=_of_known(min, [one.row.job_iou_min for one in results]),
        **columns,
    )
    log_ratios = {
        group: [ratio for one in results for ratio in one.details["log_ratios"].get(group, [])] for group in targets
    }
    return PointResult(
        row=row,
        config=first.config,
        samples=[block for number, one in enumerate(results) for block in _of_process(one.samples, number)],
        details=first.details
        | ratio_details({group: ratios for group, ratios in log_ratios.items() if ratios})
        | {
            "contention": None if contention is None else contention.as_json(),
            "processes": [_of_each(one) for one in results],
        },
    )


def _of_process(blocks: Sequence[Block], number: int) -> list[Block]:
    return [replace(block, process=number) for block in blocks]


def _of_each(one: PointResult) -> dict[str, Any]:
    ratios = {name: getattr(one.row, name) for name in ("speedup", "speedup_lo", "speedup_hi", "fps")}
    return ratios | {name: one.details.get(name) for name in OF_EACH}


def _of_fps(point: Point, first: PointResult, fps: float) -> dict[str, Any]:
    """Return the columns that follow from targets per second and from what the first process measured."""
    row = first.row
    assert row.fps is not None
    return {
        **cost_columns(
            point.config,
            fps=fps,
            encode_fps=row.encode_fps,
            flops_per_target=None if row.gflop_per_target is None else row.gflop_per_target * 1e9,
            matrix_rate=None if row.matrix_gflop_per_s is None else row.matrix_gflop_per_s * 1e9,
        ),
        "objects_per_s": None if row.objects_per_s is None else row.objects_per_s / row.fps * fps,
        "realtime": None if row.realtime is None else row.realtime / row.fps * fps,
    }


def _contention(results: Sequence[PointResult]) -> Contention | None:
    stored = [one.details.get("contention") for one in results]
    return Contention.together([Contention.from_json(one) for one in stored if one is not None])


def _of_known(pooled: Callable[[list[float]], float], values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return pooled(known) if known else None


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
