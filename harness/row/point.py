"""What a point is, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.column import column, measured

Status = Literal["ok", "oom", "timeout", "crash", "wrong", "skipped"]
Scenario = Literal["predict", "job", "stream"]


@dataclass(frozen=True, kw_only=True)
class PointColumns:
    """The first columns."""

    point: str = column(
        "The point has this name: strategy, variant, batch, objects, and a hash of all options that decide what "
        "is measured."
    )
    strategy: str = column("The strategy has this name in `conf/strategy/`.", identifies=True, shown="always")
    variant: str = column(
        "The strategy's own options are set like this: a switch that is on stands by its name, others by their value.",
        identifies=True,
        shown="always",
    )
    model: str = column(
        "The model has this name in `conf/model/`.", identifies=True, setting=True, shown="where it varies"
    )
    data: str = column(
        "The data source has this name in `conf/data/`.", identifies=True, setting=True, shown="where it varies"
    )
    device: str | None = column(
        "The GPU or the CPU that the point ran on has this name.", setting=True, shown="where it varies", default=None
    )
    dtype: str = column("The model computes in this dtype.", identifies=True, setting=True, shown="where it varies")
    batch: int = column(
        "The strategy predicts this many targets at once; in a stream, one frame of so many videos.",
        unit="targets",
        format=".0f",
        identifies=True,
        shown="always",
    )
    objects: int | None = column(
        "The group with the most objects has this many.",
        unit="objects",
        format=".0f",
        identifies=True,
        default=None,
        shown="always",
    )
    refs: int | None = column(
        "The group with the most reference frames has this many.",
        unit="frames",
        format=".0f",
        identifies=True,
        default=None,
        setting=True,
        shown="where it varies",
    )
    targets: int | None = column(
        "All groups together have this many target frames.",
        unit="frames",
        format=".0f",
        identifies=True,
        default=None,
        setting=True,
        shown="where it varies",
    )
    scenario: Scenario = column(
        "This is what was timed: `predict`, masks from features; `job`, from pictures on disk to masks on disk; or "
        "`stream`, videos frame by frame.",
        identifies=True,
        default="predict",
        setting=True,
        shown="where it varies",
    )
    status: Status = column("The point ended in this way, see Statuses.", shown="always")
    reason: str | None = measured("This is why the status is not `ok`, or why a point that is `ok` has no speed-up.")
