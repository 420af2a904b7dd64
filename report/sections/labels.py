"""What pages call the columns of summary.csv, whose own names their tooltips and the Markdown have."""

from __future__ import annotations

from harness.row import CATALOGUE
from report.render.document import Column

LABELS = {
    "strategy": "Strategy",
    "model": "Model",
    "data": "Data",
    "device": "Device",
    "dtype": "Precision",
    "batch": "Batch",
    "objects": "Objects",
    "refs": "References",
    "targets": "Targets",
    "scenario": "Timed",
    "repeat": "Repeat",
    "status": "Status",
    "fps": "Targets/s",
    "objects_per_s": "Masks/s",
    "encode_fps": "Encoded/s",
    "bank_s": "Bank (s)",
    "setup_s": "Set-up (s)",
    "sdpa": "Attention kernels",
    "speedup": "Speed-up",
    "verdict": "Verdict",
    "masks": "Masks",
    "iou_mean": "Mean IoU",
    "iou_p1": "IoU, 1st percentile",
    "iou_min": "Worst IoU",
    "max_abs_dlogit": "Logits apart",
    "gate_flips": "Gate flips",
    "pick_flips": "Pick flips",
    "checked_calls": "Calls checked",
    "j": "J",
    "f": "F",
    "jf": "J&F",
    "pairs_at_once": "Pairs at once",
    "peak_rss_mb": "Memory (MB)",
    "cpu_s_per_1000": "CPU s per 1,000",
    "vram_peak_mb": "GPU memory (MB)",
    "vram_reserved_mb": "GPU reserved (MB)",
    "vram_device_mb": "GPU in use (MB)",
    "gpu_util_mean": "GPU busy (%)",
    "gpu_power_w": "GPU power (W)",
    "energy_j_per_1000": "J per 1,000",
    "gpu_temperature_c": "GPU (°C)",
    "gpu_clock_mhz": "GPU clock (MHz)",
    "throttle": "Held down by",
    "foreign_processes": "Others on the GPU",
    "gflop_per_target": "GFLOP per target",
    "gflop_per_s": "GFLOP/s",
    "matrix_share": "Of matrix rate",
    "projected_min": "Whole job (min)",
    "read_busy": "Reading",
    "encode_busy": "Encoding",
    "predict_busy": "Predicting",
    "enlarge_busy": "Enlarging",
    "write_busy": "Writing",
    "bottleneck": "Bottleneck",
    "overlap": "Overlap",
    "job_cpu_ratio": "CPU, of stages",
    "job_iou_mean": "Mean IoU of jobs",
    "job_iou_min": "Worst IoU of jobs",
}


def labelled(title: str, *, words: bool = False) -> Column:
    """Make a table's column, which a page calls by its label and explains, where it is one of summary.csv."""
    known = CATALOGUE.get(title)
    return Column(title=title, words=words, label=LABELS.get(title, ""), about=known.help if known else "")
