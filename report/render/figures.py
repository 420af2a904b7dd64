"""Figures as files that lie beside the report, the same bytes every time, and as parts of its HTML."""

from __future__ import annotations

import base64
import re
import warnings
from html import escape
from io import BytesIO, StringIO

import matplotlib as mpl

from report.render.document import Drawing, printable

DPI = 130
MARGIN = 0.12
"""Inches around the figure and between panels: a browser's letters may be wider than those of the layout."""
FONTS = ["DejaVu Sans", "Verdana", "Arial"]
WHITE_GROUND = re.compile(r'(<g id="[^"]*patch_\d+">\s*<path d="[^"]*"\s+style=")fill: #ffffff')
"""What matplotlib puts behind a figure and each of its panels."""
NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}


def rendered(drawing: Drawing) -> tuple[str, dict[str, bytes]]:
    """Return the figure as HTML, and the contents of its files by their names."""
    picture = BytesIO()
    layout = drawing.figure.get_layout_engine()
    if layout is not None:
        layout.set(w_pad=MARGIN, h_pad=MARGIN / 2)  # type: ignore[call-arg]
    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box in the PNG; the SVG holds the letter itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Text stays text, so that it can be searched and copied; and nothing in the file is random.
        mpl.rcParams.update({"svg.fonttype": "none", "font.sans-serif": FONTS, "svg.hashsalt": drawing.name})
        drawing.figure.savefig(picture, format="png", dpi=DPI)
        files = {f"{drawing.name}.png": picture.getvalue()}
        if drawing.picture:
            coded = base64.b64encode(picture.getvalue()).decode("ascii")
            return f'<img src="data:image/png;base64,{coded}" alt="{escape(drawing.alt)}">', files
        drawing.figure.set_layout_engine("none")  # The PNG has laid it out; the SVG must have the same places.
        text = StringIO()
        drawing.figure.savefig(text, format="svg", metadata=NO_DATE)
    svg = printable(_with_titles(text.getvalue(), drawing))
    return _inline(svg, drawing), files | {f"{drawing.name}.svg": svg.encode("utf-8")}


def _with_titles(svg: str, drawing: Drawing) -> str:
    """Add the tooltips as titles, which browsers show beside the pointer."""
    for gid, text in drawing.tooltips:
        begin = f'<g id="{gid}">'
        svg = svg.replace(begin, f"{begin}<title>{escape(text)}</title>", 1)
    return svg


def _inline(svg: str, drawing: Drawing) -> str:
    """Return the SVG as a part of a page: without a file's declarations, and with ids that no other figure has."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r' xmlns(:xlink)?="[^"]*"', "", body)
    body = body.replace("xlink:href=", "href=")
    body = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{drawing.name}-", body)
    body = WHITE_GROUND.sub(r"\g<1>fill: none", body)  # The page's own ground is dark where its reader wants that.
    # Without this, the style that matplotlib writes for its figure would apply to the whole page.
    body = body.replace('<style type="text/css">*{', f'<style type="text/css">#{drawing.name} *{{', 1)
    return body.replace("<svg ", f'<svg id="{drawing.name}" role="img" aria-label="{escape(drawing.alt)}" ', 1)
