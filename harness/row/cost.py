"""What a point takes: memory, energy, arithmetic, and the time of a whole job."""

from __future__ import annotations

from dataclasses import dataclass

from harness.column import measured
from harness.row.masks import MaskColumns


@dataclass(frozen=True, kw_only=True)
class CostColumns(MaskColumns):
    """The columns up to those of cost."""

    pairs_at_once: int | None = measured(
        "The strategy computes this many (target, object) pairs at once at most, and more of them in several chunks; "
        "the cell is empty for a strategy without chunks.",
        unit="pairs",
        format=".0f",
    )
    peak_rss_mb: float | None = measured(
        "The point's process had this much memory at its peak while the strategy worked alone, model included.",
        unit="MiB",
        format=".0f",
        shown="always",
        gate="memory",
    )
    cpu_s_per_1000: float | None = measured(
        "The strategy takes this much CPU time, of all cores, for 1,000 targets.", unit="s", format=".2f"
    )
    vram_peak_mb: float | None = measured(
        "Torch's allocator gave out this much GPU memory at its peak.",
        unit="MiB",
        format=".0f",
        shown="always",
        gate="memory",
    )
    vram_reserved_mb: float | None = measured(
        "Torch's allocator held this much GPU memory at its peak.", unit="MiB", format=".0f"
    )
    vram_device_mb: float | None = measured(
        "The GPU had this much memory in use at its peak, less what was in use before the point.",
        unit="MiB",
        format=".0f",
    )
    gpu_util_mean: float | None = measured(
        "Any kernel ran on the GPU for this share of the time, by NVML, on average while the strategy ran alone.",
        unit="%",
        format=".0f",
    )
    gpu_power_w: float | None = measured(
        "The GPU drew this power, by NVML, on average while the strategy ran alone.", unit="W", format=".0f"
    )
    energy_j_per_1000: float | None = measured(
        "The GPU takes this much energy, by NVML, for 1,000 targets.", unit="J", format=".1f"
    )
    gpu_temperature_c: float | None = measured(
        "The GPU reached this temperature, by NVML, while the strategy ran alone.", unit="°C", format=".0f"
    )
    gpu_clock_mhz: float | None = measured(
        "The GPU's multiprocessors ran at this clock, by NVML, on average while the strategy ran alone.",
        unit="MHz",
        format=".0f",
    )
    throttle: str | None = measured(
        "The GPU's clocks were held down by all of this, by NVML; the cell is empty where nothing did."
    )
    foreign_processes: int | None = measured(
        "This many other processes at most, by NVML, computed on the GPU at once.", unit="processes", format=".0f"
    )
    gflop_per_target: float | None = measured(
        "Memory attention and mask decoder take this much arithmetic for one target, counted.",
        unit="GFLOP",
        format=".2f",
    )
    gflop_per_s: float | None = measured(
        "The strategy does this much of that arithmetic in each second.", unit="GFLOP/s", format=".1f"
    )
    matrix_gflop_per_s: float | None = measured(
        "Large matrix products, the best of a few shapes, or the strategy where it was faster, reached this rate on "
        "this device in the same process.",
        unit="GFLOP/s",
        format=".1f",
    )
    matrix_share: float | None = measured(
        "The strategy reaches this share of `matrix_gflop_per_s`.", unit="0 to 1", format=".1%"
    )
    copy_gb_per_s: float | None = measured(
        "Copying memory reached this rate on this device in the same process, bytes read and written.",
        unit="GB/s",
        format=".1f",
    )
    projected_min: float | None = measured(
        "A job of `project_to` targets takes this long, encoding included; reading, enlarging and writing are included "
        "where `scenario=job` measured them.",
        unit="min",
        format=".1f",
    )
