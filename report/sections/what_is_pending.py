"""The points that were asked for and have no result, because the run was interrupted or its time was over."""

from __future__ import annotations

from harness.options.shards import FOLDER
from harness.store.recorded import planned_names
from report.reading.run import Run
from report.render.document import Paragraph, Section

MOST_NAMED = 12
"""At most so many of them are named."""


def pending_section(run: Run) -> Section | None:
    asked, done = dict.fromkeys(planned_names(run.folder)), set(run.summary["point"])
    names = [name for name in asked if name not in done]
    if not names:
        return None
    again = (
        "the same parts again (`shard=`) go"
        if (run.folder / FOLDER).is_dir()
        else "the same command with `resume=true` goes"
    )
    more = len(names) - MOST_NAMED
    listed = ", ".join([*(f"`{name}`" for name in names[:MOST_NAMED]), *([f"and {more} more"] if more > 0 else [])])
    text = f"{len(names)} of {len(asked)} points have no result yet; {again} on with them: {listed}."
    return Section.of("What is pending", Paragraph(text=text))
