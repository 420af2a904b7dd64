"""The whole job, where it was measured: how busy its stages are, and how well they hide behind each other."""

from __future__ import annotations

import pandas as pd

from report.reading.run import Run
from report.render.document import Cell, Paragraph, Section, number
from report.sections.points_table import PointColumn, column, points_table, speedup_cell, text_column, whole_job

BUSY = ("read_busy", "encode_busy", "predict_busy", "enlarge_busy", "write_busy")


def whole_job_section(run: Run) -> Section | None:
    """Return None where no point timed the whole job."""

    def of_job(name: str) -> PointColumn:
        shown = column(name)
        return PointColumn(title=name, cell=lambda row: shown.cell(row) if whole_job(row) else number(None, ""))

    def speedup(row: pd.Series) -> Cell:
        return speedup_cell(row) if whole_job(row) else number(None, "")

    table = points_table(
        run,
        [
            of_job("fps"),
            PointColumn(title="speedup", cell=speedup),
            *map(column, BUSY),
            text_column("bottleneck"),
            *map(column, ("overlap", "job_cpu_ratio", "job_iou_mean", "job_iou_min")),
        ],
    )
    if not run.summary["bottleneck"].notna().any() or table is None:
        return None
    note = (
        "`fps` is targets per second from pictures on disk to masks on disk, references and memory bank included, and "
        "`speedup` that of the pipeline over a loop around the baseline strategy that reads, encodes, predicts, "
        "enlarges and writes one picture after another. Busy shares are of the network's time (encode, predict) and of "
        "the workers' (read, enlarge, write). `overlap` is what the longest stage takes alone, divided by what the job "
        "took; `job_cpu_ratio` the pipeline's CPU time over that of its stages one after another. The pipeline's masks "
        "are those of its stages in turn, byte for byte, and `job_iou_*` compares them with the loop's."
    )
    return Section.of("The whole job", table, Paragraph(text=note, quiet=True))
