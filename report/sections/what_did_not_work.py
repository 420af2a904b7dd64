"""How points ended that did not end well, and those that this machine could not try."""

from __future__ import annotations

import pandas as pd

from report.reading.run import Run
from report.render.document import Block, Bullets, Paragraph, Section

MOST_NAMED = 12
"""Points that ended alike and are told by name."""


def failures_section(run: Run) -> Section | None:
    """Skipped points come last and quietly: a strategy that a machine can't run is no failure."""
    told = run.summary.assign(reason=run.summary["reason"].fillna("no reason is known"))
    told = told[run.summary["reason"].notna() | (run.summary["status"] != "ok")]
    failed, skipped = told[told["status"] != "skipped"], told[told["status"] == "skipped"]
    blocks: list[Block] = []
    if len(failed):
        blocks.append(Bullets(items=tuple(_line(points) for _, points in _alike(failed))))
    if len(skipped):
        blocks.append(Paragraph(text="Not tried, which is no failure:", quiet=True))
        blocks.append(Bullets(items=tuple(_line(points) for _, points in _alike(skipped)), quiet=True))
    return Section.of("What did not work" if len(failed) else "What was not tried", *blocks)


def _alike(points: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Points of one status and reason together, in the order of the run."""
    return list(points.groupby(["status", "reason"], sort=False))  # type: ignore[arg-type]


def _line(points: pd.DataFrame) -> str:
    status, reason = points["status"].iloc[0], points["reason"].iloc[0]
    names = [f"`{name}`" for name in points["point"]]
    more = len(names) - MOST_NAMED
    listed = ", ".join([*names[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])
    one = len(names) == 1
    consequence = f", so {'it has' if one else 'they have'} no speed-up" if status == "wrong" else ""
    return f"{listed} {'is' if one else 'are'} **{status}**{consequence}: {reason}"
