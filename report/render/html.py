"""Documents as one HTML file each, which needs no network and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from report.render.document import CARD, Bullets, Code, Document, Drawing, Paragraph, Table, printable, spans

TEMPLATES = files("report.render") / "templates"


FOLDED_FROM = 60
"""A table of more rows shows the first 40 (report.css) until a reader asks for all."""


def render_html(document: Document, shown: Mapping[str, str], *, address: str = "") -> str:
    """Render a document as a page.

    shown: each figure as HTML, by its name; figures that are missing are left out. address: of the page's folder, with
    a slash at its end, for previews of links, which may not find the card by its name alone.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"spans": spans, "sortable": _sortable, "percent": lambda share: f"{100 * share:.2f}%"}
    environment.tests |= {
        "paragraph": lambda block: isinstance(block, Paragraph),
        "bullets": lambda block: isinstance(block, Bullets),
        "code": lambda block: isinstance(block, Code),
        "table": lambda block: isinstance(block, Table),
        "drawing": lambda block: isinstance(block, Drawing),
    }
    template = environment.from_string(_text("report.html"))
    page = template.render(
        document=document,
        card=address + CARD if document.main_result else "",
        folded_from=FOLDED_FROM,
        shown={name: Markup(html) for name, html in shown.items()},
        style=Markup(_text("report.css")),
        script=Markup(_text("report.js")),
    )
    return printable(page)


def _sortable(key: float | str) -> str:
    """Write a cell's key as JavaScript reads it."""
    return str(key).replace("inf", "Infinity") if isinstance(key, float) else key


def _text(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")
