"""What only ``scenario=stream`` measures."""

from __future__ import annotations

from dataclasses import dataclass

from harness.column import measured
from harness.row.job import JobColumns


@dataclass(frozen=True, kw_only=True)
class StreamColumns(JobColumns):
    """The columns up to those of streams."""

    step_p50_ms: float | None = measured(
        "With `scenario=stream`, the median step, which takes the next frame of each of the videos followed at once, "
        "is over after this long; the device is waited for after each.",
        unit="ms",
        format=".1f",
    )
    step_p95_ms: float | None = measured("Of a hundred steps, 95 take no longer than this.", unit="ms", format=".1f")
    step_p99_ms: float | None = measured("Of a hundred steps, 99 take no longer than this.", unit="ms", format=".1f")
    step_jitter_ms: float | None = measured(
        "A step takes so much more or less time than the one before it, on average.", unit="ms", format=".2f"
    )
    realtime: float | None = measured(
        "Each video is followed at this many times the rate of a camera with `camera_fps` frames per second, encoding "
        "not included; below 1 the camera is faster.",
        unit="ratio",
        format=".2f",
    )
    pair_mb: float | None = measured(
        "The strategy keeps this much memory between steps for each (video, object), in the last step in which all "
        "slots have a video.",
        unit="MiB",
        format=".2f",
    )
    forced_iou_min: float | None = measured(
        "Where each step of a strategy that is exact starts from the memory of `stream_session`, the worst pair has "
        "this IoU. Other columns of masks are of a run in which every strategy remembers what it predicted itself.",
        unit="0 to 1",
        format=".4f",
    )
    floor_iou: float | None = measured(
        "A `stream_session` whose inputs are off by rounding has this mean IoU with `stream_session`.",
        unit="0 to 1",
        format=".4f",
    )
