"""Reports of a run's folder for people: Markdown, HTML and figures."""

from __future__ import annotations

from pathlib import Path


def write_report(folder: Path, *, max_loss: float | None = None) -> Path:
    """Write the report into a run's folder; returns the path of report.md (see `report.write`)."""
    from report.write import (
        write_report as written,
    )  # Its imports take seconds, in which nobody should wait for Ctrl-C.

    return written(folder) if max_loss is None else written(folder, max_loss=max_loss)
