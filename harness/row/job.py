"""What only ``scenario=job`` measures."""

from __future__ import annotations

from dataclasses import dataclass

from harness.column import measured
from harness.row.cost import CostColumns


@dataclass(frozen=True, kw_only=True)
class JobColumns(CostColumns):
    """The columns up to those of whole jobs."""

    read_busy: float | None = measured(
        "With `scenario=job`, this is the share of the workers' time in which they read, decoded and resized pictures.",
        unit="0 to 1",
        format=".0%",
    )
    encode_busy: float | None = measured(
        "This is the share of the job's time in which the network encoded.", unit="0 to 1", format=".0%"
    )
    predict_busy: float | None = measured(
        "This is the share of the job's time in which the network predicted.", unit="0 to 1", format=".0%"
    )
    enlarge_busy: float | None = measured(
        "This is the share of the workers' time in which they enlarged masks to the pictures' size.",
        unit="0 to 1",
        format=".0%",
    )
    write_busy: float | None = measured(
        "This is the share of the workers' time in which they measured and wrote masks.", unit="0 to 1", format=".0%"
    )
    bottleneck: str | None = measured(
        "The others waited for this stage: it has most of the work on the busier side, network or workers."
    )
    overlap: float | None = measured(
        "The longest stage alone takes this share of what the job takes, in the first timed group: near 1, the others "
        "hide behind it.",
        unit="ratio",
        format=".2f",
    )
    job_cpu_ratio: float | None = measured(
        "The pipeline took this many times the CPU time that its stages take one after another, in the first timed "
        "group.",
        unit="ratio",
        format=".2f",
    )
    job_iou_mean: float | None = measured(
        "The job's masks, at the pictures' size, have this mean IoU with those of the loop around the baseline "
        "strategy, or of `sequential` where no loop is timed.",
        unit="0 to 1",
        format=".4f",
    )
    job_iou_min: float | None = measured("The worst of these has this IoU.", unit="0 to 1", format=".4f")
