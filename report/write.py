"""A run's report: report.md, report.html, and their figures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from harness.store.atomic import write_whole
from report.reading.run import Run, read_run
from report.render.card import draw_card
from report.render.document import CARD, Document, Drawing, Section
from report.render.figures import rendered, shown
from report.render.html import render_html
from report.render.markdown import render_markdown
from report.sections.all_points import all_points_section
from report.sections.are_the_masks_the_same import agreement_section
from report.sections.encoder import encoder_section
from report.sections.environment import environment_section
from report.sections.field_claims import claims_section
from report.sections.from_run_to_run import trends_section
from report.sections.how_far_to_trust_it import caveats_section
from report.sections.kernels import kernels_section
from report.sections.main_result import document_of
from report.sections.scaling_with_memory_frames import memory_frames_section
from report.sections.speed_against_batch import throughput_section
from report.sections.speed_memory_and_agreement import pareto_section
from report.sections.speedup_over_batch_and_objects import speedup_map_section
from report.sections.stream_losses import MAX_LOSS
from report.sections.streams import streams_section
from report.sections.to_measure_a_point_again import reproduction_section
from report.sections.verdict import verdict_section
from report.sections.what_did_not_work import failures_section
from report.sections.what_fits_into_memory import memory_section
from report.sections.what_is_pending import pending_section
from report.sections.where_the_time_goes import stages_section
from report.sections.while_it_ran import series_section
from report.sections.whole_job import whole_job_section
from report.sections.your_job import job_section


def write_report(folder: Path, *, max_loss: float = MAX_LOSS) -> Path:
    """Write the report into a run's folder; returns the path of report.md.

    max_loss: points of J&F that the verdict lets an approximation of streams lose.
    Each file is written whole or not at all, so that a full disk leaves the report before. Raises UserError where the
    folder holds no run, or a file can't be written.
    """
    document = report_of(read_run(folder), max_loss=max_loss)
    in_page: dict[str, str] = {}
    files: dict[str, bytes] = {}
    for drawing in _drawings(document):
        in_page[drawing.name], of_drawing = rendered(drawing)
        files |= of_drawing
    for name, content in files.items():
        write_whole(folder / name, content)
    if document.main_result is not None:
        write_whole(folder / CARD, draw_card(document))
    write_whole(folder / "report.html", render_html(document, in_page))
    path = folder / "report.md"
    write_whole(path, render_markdown(document))
    return path


def shown_in(document: Document) -> dict[str, str]:
    """Return a document's figures as HTML, by their names."""
    return {drawing.name: shown(drawing) for drawing in _drawings(document)}


def _drawings(document: Document) -> Iterator[Drawing]:
    return (block for section in document.sections for block in section.blocks if isinstance(block, Drawing))


def report_of(run: Run, *, max_loss: float = MAX_LOSS) -> Document:
    """Return the report: what to use comes first, then why, then how to check it."""
    sections: tuple[Section | None, ...] = (
        verdict_section(run, max_loss=max_loss),
        claims_section(run),
        all_points_section(run),
        throughput_section(run),
        speedup_map_section(run),
        memory_section(run),
        pareto_section(run),
        whole_job_section(run),
        streams_section(run),
        stages_section(run),
        kernels_section(run),
        encoder_section(run),
        agreement_section(run),
        memory_frames_section(run),
        job_section(run),
        trends_section(run),
        series_section(run),
        failures_section(run),
        pending_section(run),
        caveats_section(run),
        environment_section(run),
        reproduction_section(run),
    )
    return document_of(run, [section for section in sections if section is not None])
