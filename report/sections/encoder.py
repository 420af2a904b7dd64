"""The vision encoder's speed, as it is and compiled, and how far its features are from fp32."""

from __future__ import annotations

from typing import Any

from report.reading.run import Run, finite
from report.render.document import Column, Paragraph, Section, filled, number, words
from report.sections.extras import extra_of, median_seconds

MEANING = (
    "Frames that are on the device already become features, so that reading pictures and storing features are not in "
    "it. The difference is the largest from the same network in fp32 and not compiled, as a share of the largest "
    "feature of the same level. Every sample is in `encoder.json`."
)


def encoder_section(run: Run) -> Section | None:
    extra = extra_of(run, "encoder")
    if extra is None:
        return None
    rows = [row for _, part in extra.parts if (row := _row(part)) is not None]

    def cells(name: str) -> list[Any]:
        return [row[name] for row in rows]

    table = filled(
        [
            (Column(title="model", words=True), [words(value) for value in cells("model")]),
            (Column(title="dtype", words=True), [words(value) for value in cells("dtype")]),
            (Column(title="how", words=True), [words(value) for value in cells("how")]),
            (Column(title="batch"), [number(value, "{:g}") for value in cells("batch")]),
            (Column(title="frames/s"), [number(value, "{:.4g}") for value in cells("fps")]),
            (Column(title="of the matrix rate"), [number(value, "{:.1%}") for value in cells("share")]),
            (Column(title="difference from fp32"), [number(value, "{:.1e}") for value in cells("difference")]),
            (Column(title="first call s"), [number(value, "{:.2f}") for value in cells("first")]),
        ],
        keep=4,
    )
    meaning = None if table is None else Paragraph(text=MEANING, quiet=True)
    return Section.of("The encoder", extra.end, meaning, table, extra.gaps)


def _row(part: dict[str, Any]) -> dict[str, Any] | None:
    """Return the figures of a part, or None where it was not measured."""
    seconds, batch = median_seconds(part), finite(part.get("batch"))
    if seconds is None or batch is None:
        return None
    fps = batch / seconds
    flops, rate = finite(part.get("flops_per_frame")), finite(part.get("matrix_flop_per_s"))
    return {
        "model": part.get("model"),
        "dtype": part.get("dtype"),
        "how": "compiled" if part.get("compiled") is True else "eager",
        "batch": batch,
        "fps": fps,
        "share": fps * flops / rate if flops is not None and rate else None,
        "difference": finite(part.get("difference")),
        "first": finite(part.get("warm_up_seconds")),
    }
