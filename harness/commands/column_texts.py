"""What each column of summary.csv means, and its unit."""

from __future__ import annotations

COLUMN_TEXTS: dict[str, tuple[str, str]] = {
    "point": (
        "",
        "the point's name: strategy, variant, batch, objects, and a hash of all options that decide what is measured",
    ),
    "strategy": ("", "its name in `conf/strategy/`"),
    "variant": ("", "how the strategy's own options are set: a switch that is on by its name, others by their value"),
    "model": ("", "its name in `conf/model/`"),
    "data": ("", "its name in `conf/data/`"),
    "device": ("", "the name of the GPU or the CPU"),
    "dtype": ("", "what the model computes in"),
    "batch": ("targets", "targets that are predicted at once"),
    "objects": ("objects", "the most objects of any group"),
    "refs": ("frames", "the most reference frames of any group"),
    "targets": ("frames", "target frames of all groups together"),
    "status": ("", "how the point ended, see Statuses"),
    "reason": ("", "why the status is not `ok`; of a point that is `ok`, why there is no speed-up"),
    "fps": ("targets/s", "speed of the prediction stage: wall clock, by the median block of each group"),
    "objects_per_s": ("pairs/s", "the same in (target, object) pairs"),
    "encode_fps": (
        "frames/s",
        "speed of the vision encoder's stage, from the first file read to the last feature on disk; all strategies "
        "share it",
    ),
    "bank_s": (
        "s",
        "time to build a group's memory bank; empty for a strategy that builds it for every target, whose `fps` "
        "includes it",
    ),
    "setup_s": ("s", "time to start the point's process and load everything, which is never inside the clock"),
    "sdpa": (
        "",
        "torch's attention kernels that ran in one batch, the most frequent first; of compiled code all but `math`, "
        "which the compiler takes apart",
    ),
    "reference": ("", "the baseline strategy that `speedup` is over; empty where a point is timed alone"),
    "speedup": (
        "ratio",
        "the baseline strategy's time over this strategy's: median of paired rounds; empty unless the status is `ok`",
    ),
    "speedup_lo": ("ratio", "lower end of the 95 % bootstrap interval of `speedup`"),
    "speedup_hi": ("ratio", "upper end of the 95 % bootstrap interval of `speedup`"),
    "verdict": (
        "",
        "`same`: the whole interval is within `timing.same` of 1; else `faster` or `slower`: all of it is on one side "
        "of 1; else `unclear`",
    ),
    "blocks": ("blocks", "timed passes, of both sides together"),
    "converged": (
        "",
        "whether the interval became as narrow as `timing.width` asks for before `timing.max_seconds` were over",
    ),
    "iou_mean": ("0 to 1", "masks against those of `sequential` on the same targets: mean IoU over all pairs"),
    "iou_p1": ("0 to 1", "the same: first percentile"),
    "iou_min": ("0 to 1", "the same: the worst pair"),
    "max_abs_dlogit": ("logits", "largest difference of a mask logit, over pairs in which both sides see the object"),
    "gate_flips": ("pairs", "pairs in which the object-score gate came out differently"),
    "pick_flips": ("pairs", "pairs in which another one of the candidate masks was the best"),
    "j": ("0 to 1", "region similarity against ground truth: IoU, mean over frames, then objects"),
    "f": ("0 to 1", "boundary measure against ground truth, mean over frames, then objects"),
    "jf": ("0 to 1", "mean of `j` and `f`"),
    "peak_rss_mb": ("MiB", "peak memory of the point's process while the strategy works alone, model included"),
    "cpu_s_per_1000": ("s", "CPU time of all cores for 1,000 targets"),
    "vram_peak_mb": ("MiB", "GPU: peak of what torch's allocator gave out"),
    "vram_reserved_mb": ("MiB", "GPU: peak of what torch's allocator held"),
    "vram_device_mb": ("MiB", "GPU: peak of what was in use on the device, less what was in use before the point"),
    "gpu_util_mean": ("%", "GPU, by NVML: share of time in which any kernel ran, mean while the strategy ran alone"),
    "gpu_power_w": ("W", "GPU, by NVML: mean power while the strategy ran alone"),
    "energy_j_per_1000": ("J", "GPU, by NVML: energy for 1,000 targets"),
    "gpu_temperature_c": ("°C", "GPU, by NVML: the highest temperature"),
    "gpu_clock_mhz": ("MHz", "GPU, by NVML: mean clock of the multiprocessors"),
    "throttle": ("", "GPU, by NVML: all that held the clocks down; empty where nothing did"),
    "foreign_processes": ("processes", "GPU, by NVML: the most other processes that computed on it at once"),
    "gflop_per_target": ("GFLOP", "arithmetic of memory attention and mask decoder for one target, counted"),
    "gflop_per_s": ("GFLOP/s", "that arithmetic as it was done in each second"),
    "matrix_gflop_per_s": ("GFLOP/s", "rate of a large matrix product on this device in the same process"),
    "matrix_share": ("0 to 1", "`gflop_per_s` as a share of `matrix_gflop_per_s`"),
    "projected_min": ("min", "time of a job of `project_to` targets, encoding included"),
    "repeat": ("", "which repetition of the point this is"),
    "command": ("", "measures the point again"),
}
"""(unit, meaning) by column; a column without a unit has ""."""
