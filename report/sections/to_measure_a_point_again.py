"""The commands that measure a run's points again."""

from __future__ import annotations

from report.reading.run import Run
from report.render.document import Code, Section


def reproduction_section(run: Run) -> Section | None:
    known = run.summary[run.summary["command"].notna()]
    lines = tuple(f"{row['command']}  # {row['point']}" for _, row in known.iterrows())
    return Section.of("To measure a point again", Code(lines=lines) if lines else None)
