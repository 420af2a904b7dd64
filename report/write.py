"""report.md of a run: what was measured, in a table and two plots."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from report.plots import plot_masks, plot_throughput
from report.run import Run, read_run

TABLE = {
    "batch": "{:.0f}",
    "objects": "{:.0f}",
    "status": "{}",
    "fps": "{:.1f}",
    "objects_per_s": "{:.1f}",
    "bank_s": "{:.3f}",
    "iou_mean": "{:.4f}",
    "iou_min": "{:.4f}",
    "max_abs_dlogit": "{:.1e}",
    "gate_flips": "{:.0f}",
    "pick_flips": "{:.0f}",
    "jf": "{:.3f}",
    "peak_rss_mb": "{:.0f}",
    "vram_peak_mb": "{:.0f}",
    "gpu_util_mean": "{:.0f}",
}
"""Columns of the table and their formats."""


def write_report(folder: Path) -> Path:
    """Write report.md and its plots into a run's folder; returns the report's path."""
    run = read_run(folder)
    parts = [_title(run), _overview(run)]
    if plot_throughput(run.summary, folder / "throughput.png"):
        parts.append("## Throughput\n\n![frames per second against batch](throughput.png)")
    parts.append("## Points\n\n" + _table(run.summary))
    failed = run.summary[run.summary["reason"].notna()]
    if not failed.empty:
        reasons = [f"- `{row['point']}` is **{row['status']}**: {row['reason']}" for _, row in failed.iterrows()]
        parts.append("## What did not work\n\n" + "\n".join(reasons))
    if plot_masks(run, folder / "masks.png"):
        parts.append("## Masks\n\n![reference, target, truth and predictions](masks.png)")
    parts += [_environment(run), _commands(run)]
    path = folder / "report.md"
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _title(run: Run) -> str:
    return f"# {run.folder.resolve().name}"


def _overview(run: Run) -> str:
    summary = run.summary
    counts = ", ".join(f"{count} {status}" for status, count in summary["status"].value_counts().items())
    sentences = [
        f"{len(summary)} points ({counts}) of model {_all(summary, 'model')} on {_all(summary, 'data')} data, "
        f"{_all(summary, 'dtype')}, on {run.environment['device']}.",
    ]
    encode = summary["encode_fps"].dropna()
    if not encode.empty:
        sentences.append(
            f"The vision encoder's stage, shared by all strategies, took in {encode.iloc[0]:.1f} frames/s, "
            "from the first file read to the last feature on disk; `fps` is the prediction stage alone."
        )
    if summary["iou_min"].notna().any():
        sentences.append(
            "`iou_mean`, `iou_min`, `max_abs_dlogit` and the flips compare each point's masks with those of "
            "`sequential` on the same targets; `jf` compares them with the ground truth."
        )
    return " ".join(sentences)


def _all(summary: pd.DataFrame, column: str) -> str:
    return " and ".join(map(str, summary[column].dropna().unique()))


def _table(summary: pd.DataFrame) -> str:
    columns = [name for name in TABLE if summary[name].notna().any()]
    lines = ["| strategy | " + " | ".join(columns) + " |", "|---|" + "---:|" * len(columns)]
    for _, row in summary.iterrows():
        cells = ["" if pd.isna(row[name]) else TABLE[name].format(row[name]) for name in columns]
        lines.append(f"| {row['label']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _environment(run: Run) -> str:
    environment = run.environment
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
    commit = environment["git_commit"] or "unknown"
    changed = " with uncommitted changes" if environment["git_changed"] else ""
    cpu = environment["cpu"]
    lines = [
        f"- device: {environment['device']}",
        f"- CPU: {cpu['name']}, {cpu['cores']} cores, {cpu['memory_gb']} GB, flags {' '.join(cpu['flags']) or 'none'}; "
        f"{environment['threads']} threads used",
        f"- Python {environment['python']}, {packages}",
        f"- code: {commit}{changed}",
    ]
    if environment["gpu"]:
        gpu = environment["gpu"]
        lines.insert(1, f"- GPU: {gpu['name']}, {gpu['memory_gb']} GB, driver {gpu['driver']}, CUDA {gpu['cuda']}")
    return "## Environment\n\n" + "\n".join(lines)


def _commands(run: Run) -> str:
    lines = [f"{row['command']}  # {row['point']}" for _, row in run.summary.iterrows()]
    return "## To measure a point again\n\n```sh\n" + "\n".join(lines) + "\n```"
