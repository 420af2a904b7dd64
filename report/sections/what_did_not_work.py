"""The points that failed or ended wrong, and those that this machine could not try, with the reasons."""

from __future__ import annotations

import pandas as pd

from report.reading.run import Run
from report.render.document import Block, Bullets, Paragraph, Section

MOST_NAMED = 12
"""At most so many of the points that ended alike are named."""


def failures_section(run: Run) -> Section | None:
    """Return the section; skipped points come last and in small print, because they are no failures."""
    points = run.summary.assign(reason=run.summary["reason"].fillna("no reason is known"))
    points = points[run.summary["reason"].notna() | (run.summary["status"] != "ok")]
    failed, skipped = points[points["status"] != "skipped"], points[points["status"] == "skipped"]
    blocks: list[Block] = []
    if len(failed):
        blocks.append(Bullets(items=tuple(_line(alike) for _, alike in _alike(failed))))
    if len(skipped):
        blocks.append(Paragraph(text="Not tried, which is no failure:", quiet=True))
        blocks.append(Bullets(items=tuple(_line(alike) for _, alike in _alike(skipped)), quiet=True))
    return Section.of("What did not work" if len(failed) else "What was not tried", *blocks)


def _alike(points: pd.DataFrame) -> list[tuple[tuple[str, str], pd.DataFrame]]:
    """Group points by status and reason, in the order of the run."""
    return list(points.groupby(["status", "reason"], sort=False))  # type: ignore[arg-type]


def _line(points: pd.DataFrame) -> str:
    status, reason = points["status"].iloc[0], points["reason"].iloc[0]
    names = [f"`{name}`" for name in points["point"]]
    more = len(names) - MOST_NAMED
    listed = ", ".join([*names[:MOST_NAMED], *([f"and {more} more"] if more > 0 else [])])
    one = len(names) == 1
    consequence = f", so {'it has' if one else 'they have'} no speed-up" if status == "wrong" else ""
    return f"{listed} {'is' if one else 'are'} **{status}**{consequence}: {reason}"
