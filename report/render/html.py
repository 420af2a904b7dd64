"""Documents as one HTML file each, which needs no network and no other file."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from report.render.document import Bullets, Code, Document, Drawing, Paragraph, Table, printable, spans

TEMPLATES = files("report.render") / "templates"


def render_html(document: Document, shown: Mapping[str, str]) -> str:
    """Render a document as a page. shown: each figure as HTML, by its name; figures that are missing are left out."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"spans": spans, "sortable": _sortable}
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
