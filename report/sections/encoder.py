"""The vision encoder's speed, by the ways in which it can run, and how far its features are from fp32."""

from __future__ import annotations

from typing import Any

from report.reading.run import Run, dig, finite
from report.render.document import Section
from report.sections.extras import Figures, extra_section, median_seconds

MEANING = (
    "Frames that are on the device already become features, so that reading pictures and storing features are not in "
    "it. The difference is the largest from the same network in fp32 and not compiled, as a share of the largest "
    "feature of the same level; where it is more than rounding explains, it is marked as wrong. Every sample is in "
    "`encoder.json`."
)


COLUMNS = (
    Figures(title="model", name="model"),
    Figures(title="dtype", name="dtype"),
    Figures(title="how", name="how"),
    Figures(title="batch", name="batch", form="{:g}"),
    Figures(title="frames/s", name="fps", form="{:.4g}"),
    Figures(title="of the matrix rate", name="share", form="{:.1%}"),
    Figures(title="difference from fp32", name="difference", form="{:.1e}"),
    Figures(title="rounding explains", name="limit", form="{:.1e}"),
    Figures(title="features", name="features"),
    Figures(title="first call s", name="first", form="{:.2f}"),
)


def encoder_section(run: Run) -> Section | None:
    return extra_section(run, "encoder", title="The encoder", meaning=MEANING, row_of=_row, columns=COLUMNS, keep=4)


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
        "how": _how(part),
        "batch": batch,
        "fps": fps,
        "share": fps * flops / rate if flops is not None and rate else None,
        "difference": finite(part.get("difference")),
        "limit": finite(dig(part, "checked", "limit", "largest")),
        "features": _verdict(part),
        "first": finite(part.get("warm_up_seconds")),
    }


def _how(part: dict[str, Any]) -> str:
    ways = {"compiled": part.get("compiled") is True, "channels last": part.get("channels_last") is True}
    return ", ".join(name for name, on in ways.items() if on) or "eager"


def _verdict(part: dict[str, Any]) -> str | None:
    """Return whether features are as near to fp32 as their dtype allows; None where an older run has not looked."""
    checked = part.get("checked")
    if not isinstance(checked, dict):
        return None
    return "right" if checked.get("fault") is None else "wrong"
