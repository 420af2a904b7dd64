"""The points' tables: speed, masks, cost and memory, GPU."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from report.run import Run

KEYS = {"batch": "{:.0f}", "objects": "{:.0f}", "repeat": "{:.0f}"}
"""Columns of every table, which with the label say which point a row is of."""
STAR = "*"


@dataclass(frozen=True, kw_only=True)
class Table:
    """columns: of summary.csv, and their formats; those without any value are left out."""

    title: str
    columns: dict[str, str]


SPEED = Table(
    title="Speed",
    columns={
        "status": "{}",
        "fps": "{:.1f}",
        "speedup": "",  # with its interval
        "verdict": "{}",
        "objects_per_s": "{:.1f}",
        "bank_s": "{:.3f}",
        "setup_s": "{:.1f}",
    },
)
MASKS = Table(
    title="Masks",
    columns={
        "iou_mean": "{:.4f}",
        "iou_min": "{:.4f}",
        "max_abs_dlogit": "{:.1e}",
        "gate_flips": "{:.0f}",
        "pick_flips": "{:.0f}",
        "jf": "{:.3f}",
    },
)
COST = Table(
    title="Cost and memory",
    columns={
        "gflop_per_s": "{:.1f}",
        "matrix_share": "{:.1%}",
        "cpu_s_per_1000": "{:.2f}",
        "projected_min": "{:.1f}",
        "peak_rss_mb": "{:.0f}",
        "vram_peak_mb": "{:.0f}",
        "vram_reserved_mb": "{:.0f}",
    },
)
GPU = Table(
    title="GPU, while the strategy ran alone",
    columns={
        "gpu_util_mean": "{:.0f}",
        "vram_device_mb": "{:.0f}",
        "gpu_power_w": "{:.0f}",
        "energy_j_per_1000": "{:.1f}",
        "gpu_temperature_c": "{:.0f}",
        "gpu_clock_mhz": "{:.0f}",
        "throttle": "{}",
        "foreign_processes": "{:.0f}",
    },
)


def points_section(run: Run) -> str:
    """Every point has its row in the first table; in the others, those that have something to show there."""
    summary = run.summary
    parts = ["## Points", *_with_note(SPEED, summary, _about_stars(summary))]
    parts += _with_note(MASKS, summary, _about_masks(summary))
    parts += _with_note(COST, summary, _about_cost(run))
    parts += _with_note(GPU, summary, "")
    return "\n\n".join(parts)


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    """The first column is of words, the others of numbers."""
    lines = [header, *rows]
    escaped = ["| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines]
    return "\n".join([escaped[0], "|---|" + "---:|" * (len(header) - 1), *escaped[1:]])


def _with_note(table: Table, summary: pd.DataFrame, note: str) -> list[str]:
    columns = [name for name in table.columns if summary[name].notna().any()]
    if not columns:
        return []
    keys = [name for name in KEYS if summary[name].notna().any() and (name != "repeat" or summary[name].nunique() > 1)]
    shown = summary[summary[columns].notna().any(axis="columns")]
    formats = KEYS | table.columns
    rows = [
        [str(row["label"]), *(_cell(row, name, formats[name]) for name in (*keys, *columns))]
        for _, row in shown.iterrows()
    ]
    return [f"### {table.title}", markdown_table(["strategy", *keys, *columns], rows), *filter(None, [note])]


def _cell(row: pd.Series, name: str, form: str) -> str:
    if pd.isna(row[name]):
        return ""
    text = _with_interval(row) if name == "speedup" else form.format(row[name])
    return text + STAR if name == _starred(row) else text


def _with_interval(row: pd.Series) -> str:
    ends = [row["speedup_lo"], row["speedup_hi"]]
    if any(pd.isna(end) for end in ends):
        return _ratio(row["speedup"])
    return f"{_ratio(row['speedup'])} ({'-'.join(map(_ratio, ends))})"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _starred(row: pd.Series) -> str | None:
    """The column whose number is to be taken with care because timing ended too early."""
    if row["converged"] != "False":
        return None
    return "fps" if pd.isna(row["speedup"]) else "speedup"


def _about_stars(summary: pd.DataFrame) -> str:
    if not any(_starred(row) for _, row in summary.iterrows()):
        return ""
    return (
        f"A star (`{STAR}`) marks points that did not converge: `timing.max_seconds` were over before there were "
        "enough rounds, and an interval as narrow as `timing.width` asks."
    )


def _about_masks(summary: pd.DataFrame) -> str:
    compared = "`iou_mean`, `iou_min`, `max_abs_dlogit` and the flips compare each point's masks with those of "
    sentences = {"iou_min": compared + "`sequential` on the same targets.", "jf": "`jf` is against the ground truth."}
    return " ".join(told for name, told in sentences.items() if summary[name].notna().any())


def _about_cost(run: Run) -> str:
    sentences = []
    if run.summary["matrix_share"].notna().any():
        sentences.append(
            "`gflop_per_s` is the arithmetic of the prediction stage, `matrix_share` its part of what a large matrix "
            "product reached on this device in the same run."
        )
    jobs = sorted({targets for targets in run.stored("config", "project_to") if isinstance(targets, int)})
    if jobs and run.summary["projected_min"].notna().any():
        told = " or ".join(f"{targets:,}" for targets in jobs)
        sentences.append(f"`projected_min` is how many minutes a job of {told} targets would take, encoder included.")
    return " ".join(sentences)
