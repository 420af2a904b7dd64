"""Time and energy for a job of the user's size."""

from __future__ import annotations

import pandas as pd

from report.reading.run import Run, finite
from report.render.document import Cell, Paragraph, Section, number
from report.sections.points_table import PointColumn, column, points_table, whole_job

ADVICE = {
    "read": "more CPU cores, or a faster disk, that read and decode pictures,",
    "encode": "a faster device for the network, of whose time the encoder takes most,",
    "predict": "a faster device for the network, of whose time prediction takes most,",
    "enlarge": "more CPU cores, which enlarge masks to the pictures' size,",
    "write": "more CPU cores, or a faster disk, that measure and write masks,",
}
"""What to buy, by the stage that the others wait for."""


def job_section(run: Run) -> Section | None:
    """Return None where the size of the job is not known, or no point has a speed."""
    jobs = sorted({size for size in run.stored("config", "project_to") if isinstance(size, int)})

    def stage(row: pd.Series, rate: str) -> Cell:
        if whole_job(row):
            return number(None, "")
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
            PointColumn(title="encode (min)", cell=lambda row: stage(row, "encode_fps")),
            PointColumn(title="predict (min)", cell=lambda row: stage(row, "fps")),
            column("projected_min"),
            PointColumn(title="GPU energy (Wh)", cell=energy),
            PointColumn(title="CPU time (h)", cell=cpu_hours),
        ],
    )
    if table is None:
        return None
    size = f"For a job of {' or '.join(f'{one:,}' for one in jobs)} targets" if jobs else "For the whole job"
    jobs_measured = run.summary["scenario"] == "job"
    text = f"{size} (`project_to=N` asks for another): `projected_min` is "
    if not jobs_measured.all():
        text += (
            "the two stages, one after the other, without reading pictures, enlarging and writing masks "
            "(`scenario=job` measures all of it); energy and CPU time are of prediction alone. "
        )
    if jobs_measured.any():
        text += "Of points with `scenario=job` " if not jobs_measured.all() else ""
        text += (
            "all is included, from pictures on disk to masks on disk, and references and memory bank are paid for once "
            "in each timed block, of 64 targets where a group has so many. "
        )
    return Section.of("Your job", _caveat(run), _hardware(run), table, Paragraph(text=text.strip(), quiet=True))


def _caveat(run: Run) -> Paragraph | None:
    """Say what a projection is worth that does not come from the user's own pictures and network."""
    drawn, toy = (run.summary["data"] == "synthetic").any(), (run.summary["model"] == "toy").any()
    if not drawn and not toy:
        return None
    what = " and ".join(filter(None, ["drawn pictures" if drawn else "", "the toy network" if toy else ""]))
    return Paragraph(
        text=f"This projects from {what}: it is nobody's job. Yours is measured with `data=folder data.root=...`, "
        "`model=...` and `scenario=job`."
    )


def _hardware(run: Run) -> Paragraph | None:
    """Say what would make the fastest measured job faster."""
    measured = run.summary[(run.summary["scenario"] == "job") & (run.summary["status"] == "ok")]
    measured = measured[measured["bottleneck"].isin(list(ADVICE)) & measured["fps"].notna()]
    if measured.empty:
        return None
    best = measured.sort_values("fps").iloc[-1]
    stage = str(best["bottleneck"])
    return Paragraph(
        text=f"Of the fastest job, `{best['label']}` with batch {best['batch']:.0f}, `{stage}` is the bottleneck: "
        f"{ADVICE[stage]} would help most."
    )
