"""What was measured and what its numbers mean, in a few paragraphs."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from harness.speedup import LEVEL
from report.run import Run

PARTS = {"process": "process and imports", "model": "model", "features": "features"}
"""Of the set-up, as points/*.json name them."""


def overview(run: Run) -> str:
    return "\n\n".join(filter(None, [_measured(run), _speedups(run), _setup(run)]))


def bands(run: Run) -> list[float]:
    """By how much speeds may differ and still count as the same; more than one where points were asked differently."""
    return sorted({value for value in map(_number, run.stored("config", "timing", "same")) if value is not None})


def _measured(run: Run) -> str:
    summary = run.summary
    counts = ", ".join(f"{count} {status}" for status, count in summary["status"].value_counts().items())
    sentences = [
        f"{len(summary)} points ({counts}) of model {_all(summary, 'model')} on {_all(summary, 'data')} data, "
        f"{_all(summary, 'dtype')}, on {run.environment.get('device', 'an unknown device')}.",
    ]
    encode = summary["encode_fps"].dropna()
    if not encode.empty:
        sentences.append(
            f"The vision encoder's stage, shared by all strategies, took in {encode.iloc[0]:.1f} frames/s, "
            "from the first file read to the last feature on disk; `fps` is the prediction stage alone."
        )
    return " ".join(sentences)


def _speedups(run: Run) -> str:
    compared = run.summary[run.summary["speedup"].notna()]
    if compared.empty:
        return ""
    references = " or ".join(f"`{name}`" for name in compared["reference"].dropna().unique()) or "the reference"
    band = " or ".join(f"{value:g}" for value in bands(run))
    same = f"within 1 / (1 + {band}) and 1 + {band}" if len(bands(run)) == 1 else "within the band that was asked for"
    sentences = [
        f"`speedup` is against {references}, timed in the same process on the same inputs: rounds of four blocks in "
        "the order reference, strategy, strategy, reference (ABBA), so that a machine which slowly changes favours "
        f"neither. It is the rounds' median ratio (of several groups: their weighted mean), with the {LEVEL:.0%} "
        f"interval of a seeded bootstrap. The verdict is `same` where the whole interval lies {same}, else `faster` or "
        "`slower` where it lies on one side of 1, else `unclear`.",
    ]
    flags = [flag for outliers in run.stored("details", "outliers") for flag in _flags(outliers)]
    if flags:
        sentences.append(f"Rounds labelled as outliers stay in: {sum(flags)} of {len(flags)} over all points.")
    return " ".join(sentences)


def _setup(run: Run) -> str:
    seconds = run.summary["setup_s"].dropna()
    if seconds.empty:
        return ""
    parts = []
    for name, told in PARTS.items():
        values = [value for value in map(_number, run.stored("details", "setup_seconds", name)) if value is not None]
        if values:
            parts.append(f"{told} {pd.Series(values).median():.1f} s")
    detail = f" ({', '.join(parts)})" if parts else ""
    return f"Setting up took {seconds.median():.1f} s a point{detail}, in the median; it is never inside the clock."


def _all(summary: pd.DataFrame, column: str) -> str:
    return " and ".join(map(str, summary[column].dropna().unique()))


def _flags(outliers: Any) -> list[bool]:
    """Of all groups of a point."""
    groups = outliers.values() if isinstance(outliers, dict) else []
    return [flag for group in groups if isinstance(group, list) for flag in group if isinstance(flag, bool)]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
