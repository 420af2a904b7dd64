"""The fused cross-attention beside the best of the library's, shape by shape."""

from __future__ import annotations

from typing import Any

from report.reading.run import Run, dig, finite
from report.render.document import Section
from report.sections.extras import Figures, extra_section, median_seconds

OURS = "fused"
KVS = ("int8", "fp8")
"""In how many bits the fused step reads keys and memory besides."""
MEANING = (
    "The step is a cross-attention of memory attention, from the query before its rotary encoding to the residual "
    "added. The library's is the fastest of its kernels that is right; the error is the worst row's distance from "
    "float64, relative to its norm. With `kv` the fused step reads keys and memory in 8 bits. Every sample, what the "
    "tile was chosen over, and what was refused, are in `kernels.json`."
)


SHAPE = ("targets", "objects", "frames")
COLUMNS = (
    *(Figures(title=name, name=name, form="{:g}") for name in SHAPE),
    Figures(title="fused ms", name="ours", form="{:.3f}"),
    Figures(title="TFLOP/s", name="rate", form="{:.3g}"),
    Figures(title="of the matrix rate", name="share", form="{:.1%}"),
    Figures(title="error", name="error", form="{:.1e}"),
    Figures(title="its tile", name="plan"),
    *(Figures(title=f"kv={kv} ms", name=kv, form="{:.3f}") for kv in KVS),
    Figures(title="library ms", name="library", form="{:.3f}"),
    Figures(title="library / fused", name="ratio", form="{:.2f}x"),
    Figures(title="the library's", name="name"),
)


def kernels_section(run: Run) -> Section | None:
    return extra_section(
        run, "kernels", title="Kernels", meaning=MEANING, row_of=_row, columns=COLUMNS, keep=len(SHAPE)
    )


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
    of_library = {name: seconds for name, (seconds, _) in timed.items() if name.partition(",")[0] != OURS}
    best = min(of_library, key=lambda name: of_library[name], default=None)
    library = None if best is None else of_library[best]
    seconds, ours = timed.get(OURS, (None, {}))
    rate = None if seconds is None else _ratio(finite(ours.get("flops")), seconds)
    fused: dict[str, Any] = next((one for one in results if dig(one, "name") == OURS), {})
    return {
        **{name: finite(dig(part, "shape", name)) for name in SHAPE},
        "ours": _milli(seconds),
        "rate": None if rate is None else rate / 1e12,
        "share": _ratio(rate, finite(part.get("matrix_flop_per_s"))),
        "error": finite(fused.get("error")),
        "plan": fused.get("plan"),
        **{kv: _milli(timed.get(f"{OURS}, kv={kv}", (None,))[0]) for kv in KVS},
        "library": _milli(library),
        "ratio": _ratio(library, seconds),
        "name": best,
    }


def _milli(seconds: float | None) -> float | None:
    return None if seconds is None else 1e3 * seconds


def _ratio(value: float | None, by: float | None) -> float | None:
    return value / by if value is not None and by else None
