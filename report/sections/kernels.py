"""The fused cross-attention beside the best of the library's, shape by shape."""

from __future__ import annotations

from typing import Any

from report.reading.run import Run, dig, finite
from report.render.document import Column, Paragraph, Section, filled, number, words
from report.sections.extras import extra_of, median_seconds

OURS = "fused"
MEANING = (
    "The step is a cross-attention of memory attention, from the query before its rotary encoding to the residual "
    "added. The library's is the fastest of its kernels that is right; the error is the worst row's distance from "
    "float64, relative to its norm. Every sample, and what was refused, is in `kernels.json`."
)


def kernels_section(run: Run) -> Section | None:
    extra = extra_of(run, "kernels")
    if extra is None:
        return None
    rows = [row for _, part in extra.parts if (row := _row(part)) is not None]

    def cells(name: str) -> list[Any]:
        return [row[name] for row in rows]

    table = filled(
        [
            *((Column(title=name), [number(value, "{:g}") for value in cells(name)]) for name in SHAPE),
            (Column(title="fused ms"), [number(value, "{:.3f}") for value in cells("ours")]),
            (Column(title="TFLOP/s"), [number(value, "{:.3g}") for value in cells("rate")]),
            (Column(title="of the matrix rate"), [number(value, "{:.1%}") for value in cells("share")]),
            (Column(title="error"), [number(value, "{:.1e}") for value in cells("error")]),
            (Column(title="library ms"), [number(value, "{:.3f}") for value in cells("library")]),
            (Column(title="library / fused"), [number(value, "{:.2f}x") for value in cells("ratio")]),
            (Column(title="the library's", words=True), [words(value) for value in cells("name")]),
        ],
        keep=len(SHAPE),
    )
    meaning = None if table is None else Paragraph(text=MEANING, quiet=True)
    return Section.of("Kernels", extra.end, meaning, table, extra.gaps)


SHAPE = ("targets", "objects", "frames")


def _row(part: dict[str, Any]) -> dict[str, Any] | None:
    """Return the figures of a shape, or None where it was not measured."""
    results = part.get("results")
    if not isinstance(results, list):
        return None
    timed: dict[str, tuple[float, dict[str, Any]]] = {}
    limit = finite(part.get("tolerance"))
    for one in (one for one in results if isinstance(one, dict)):
        seconds, error = median_seconds(one), finite(one.get("error"))
        if seconds is not None and error is not None and (limit is None or error <= limit):
            timed[str(one.get("name"))] = seconds, one
    of_library = {name: seconds for name, (seconds, _) in timed.items() if name != OURS}
    best = min(of_library, key=lambda name: of_library[name], default=None)
    library = None if best is None else of_library[best]
    seconds, ours = timed.get(OURS, (None, {}))
    rate = None if seconds is None else _ratio(finite(ours.get("flops")), seconds)
    return {
        **{name: finite(dig(part, "shape", name)) for name in SHAPE},
        "ours": _milli(seconds),
        "rate": None if rate is None else rate / 1e12,
        "share": _ratio(rate, finite(part.get("matrix_flop_per_s"))),
        "error": next((finite(one.get("error")) for one in results if dig(one, "name") == OURS), None),
        "library": _milli(library),
        "ratio": _ratio(library, seconds),
        "name": best,
    }


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _ratio(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
