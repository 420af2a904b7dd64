"""What was measured, in a sentence or two."""

from __future__ import annotations

import pandas as pd

from report.run import Run


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
            f"The vision encoder's stage, shared by all strategies, took in {encode.iloc[0]:.1f} frames/s; `fps` is "
            "the prediction stage alone."
        )
    return " ".join(sentences)


def _all(summary: pd.DataFrame, column: str) -> str:
    return " and ".join(map(str, summary[column].dropna().unique()))
