"""Figures as files that lie beside the report, the same bytes every time, and as parts of its HTML.

Drawing is most of what a report costs, and the letters most of that. So a figure is laid out once, and drawn once for
each format that is asked for; `Figure.savefig` draws one with a layout twice.
"""

from __future__ import annotations

import base64
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from io import BytesIO, StringIO

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from report.render.document import Drawing, printable

DPI = 130
MARGIN = 0.12
"""Inches around the figure and between panels: a browser's letters may be wider than those of the layout."""
FONTS = ["DejaVu Sans", "Verdana", "Arial"]
WHITE_GROUND = re.compile(r'(<g id="[^"]*patch_\d+">\s*<path d="[^"]*"\s+style=")fill: #ffffff')
"""What matplotlib puts behind a figure and each of its panels."""
NO_DATE = {"Date": None, "Creator": None, "Format": None, "Type": None}
COMPRESSION = 3
"""zlib's level for PNGs: by the default one, plots come out as large, and take half as long again to write."""


def rendered(drawing: Drawing) -> tuple[str, dict[str, bytes]]:
    """Return the figure as HTML, and the contents of its files by their names."""
    with _laid_out(drawing):
        picture = png(drawing.figure)
        files = {f"{drawing.name}.png": picture}
        if drawing.picture:
            return _photographs(picture, drawing), files
        svg = _svg(drawing)
    return _inline(svg, drawing), files | {f"{drawing.name}.svg": svg.encode("utf-8")}


def shown(drawing: Drawing) -> str:
    """Return the figure as HTML alone, for a page without files beside it."""
    with _laid_out(drawing):
        return _photographs(png(drawing.figure), drawing) if drawing.picture else _inline(_svg(drawing), drawing)


def png(figure: Figure) -> bytes:
    """Draw a figure as a PNG without transparency."""
    canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
    canvas.draw()
    picture = BytesIO()
    pixels = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    pixels.save(picture, format="PNG", dpi=(figure.dpi, figure.dpi), compress_level=COMPRESSION)
    return picture.getvalue()


@contextmanager
def lettered(name: str = "") -> Iterator[None]:
    """Draw within this: with the fonts of all reports, and with ids that follow from the drawing's name."""
    with mpl.rc_context(), warnings.catch_warnings():
        # A letter that the font lacks is drawn as a box in the PNG; the SVG holds the letter itself.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        # Text stays text, so that it can be searched and copied; and nothing in the file is random.
        mpl.rcParams.update({"svg.fonttype": "none", "font.sans-serif": FONTS, "svg.hashsalt": name})
        yield


@contextmanager
def _laid_out(drawing: Drawing) -> Iterator[None]:
    """Give panels their places, which are the same in all formats."""
    figure = drawing.figure
    with lettered(drawing.name):
        figure.set_dpi(DPI)
        layout = figure.get_layout_engine()
        if layout is not None:
            FigureCanvasAgg(figure)  # Of the canvas that draws later, texts are measured once.
            layout.set(w_pad=MARGIN, h_pad=MARGIN / 2)  # type: ignore[call-arg]
            layout.execute(figure)
            figure.set_layout_engine(None)
        yield


def _svg(drawing: Drawing) -> str:
    text = StringIO()
    drawing.figure.savefig(text, format="svg", metadata=NO_DATE)
    return printable(_with_titles(text.getvalue(), drawing))


def _photographs(picture: bytes, drawing: Drawing) -> str:
    coded = base64.b64encode(picture).decode("ascii")
    return f'<img src="data:image/png;base64,{coded}" alt="{escape(drawing.alt)}">'


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
