"""Time and energy for a job of the user's size."""

from __future__ import annotations

import pandas as pd

from report.reading.run import Run, finite
from report.render.document import Cell, Paragraph, Section, number
from report.sections.points_table import Shown, column, points_table


def job_section(run: Run) -> Section | None:
    """None where nobody knows how large the job is, or how fast it goes."""
    jobs = sorted({size for size in run.stored("config", "project_to") if isinstance(size, int)})

    def minutes(row: pd.Series, rate: str) -> Cell:
        size, per_second = finite(run.of(row, "config", "project_to")), finite(row[rate])
        return number(size / per_second / 60 if size and per_second else None, "{:.1f}")

    def energy(row: pd.Series) -> Cell:
        size, joules = finite(run.of(row, "config", "project_to")), finite(row["energy_j_per_1000"])
        return number(None if size is None or joules is None else joules * size / 1000 / 3600, "{:.1f}")

    def cpu_hours(row: pd.Series) -> Cell:
        size, seconds = finite(run.of(row, "config", "project_to")), finite(row["cpu_s_per_1000"])
        return number(None if size is None or seconds is None else seconds * size / 1000 / 3600, "{:.2f}")

    table = points_table(
        run,
        [
            Shown(title="encode (min)", cell=lambda row: minutes(row, "encode_fps")),
            Shown(title="predict (min)", cell=lambda row: minutes(row, "fps")),
            column("projected_min"),
            Shown(title="GPU energy (Wh)", cell=energy),
            Shown(title="CPU time (h)", cell=cpu_hours),
        ],
    )
    if table is None:
        return None
    size = f"For a job of {' or '.join(f'{one:,}' for one in jobs)} targets" if jobs else "For the whole job"
    text = (
        f"{size} (`project_to=N` asks for another): `projected_min` is the two stages, one after the other; energy and "
        "CPU time are of prediction alone."
    )
    return Section.of("Your job", table, Paragraph(text=text, quiet=True))
