"""What was measured, in a sentence or two."""

from __future__ import annotations

import pandas as pd

from report.reading.run import Run

ALIKE = 1.1
"""How many times another rate one may be, and a number between them stands for both."""


def measured(run: Run) -> str:
    summary = run.summary
    counts = ", ".join(f"{count} {status}" for status, count in summary["status"].value_counts().items())
    sentences = [
        f"{len(summary)} points ({counts}) of model {_all(summary, 'model')} on {_all(summary, 'data')} data, "
        f"{_all(summary, 'dtype')}, on {run.device}.",
    ]
    encode = summary["encode_fps"].dropna()
    if not encode.empty:
        sentences.append(
            f"The vision encoder's stage, shared by all strategies, took in {_rates(encode)} frames/s; `fps` is the "
            "prediction stage alone."
        )
    return " ".join(sentences)


def _rates(values: pd.Series) -> str:
    """One for all where they are about the same."""
    low, high = values.min(), values.max()
    return f"{low:.1f}-{high:.1f}" if high > ALIKE * low else f"{values.median():.1f}"


def _all(summary: pd.DataFrame, column: str) -> str:
    return " and ".join(map(str, summary[column].dropna().unique()))
