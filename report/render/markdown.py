"""Documents as Markdown that GitHub renders; their figures are files beside the text."""

from __future__ import annotations

import re

from report.render.document import (
    CARD,
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Drawing,
    Paragraph,
    Span,
    Table,
    printable,
    spans,
)

SPECIAL = re.compile(r"[\\<\[\]*`~]|(?<![^\W_])_|_(?![^\W_])|&(?=#?\w+;)")
"""Characters that could begin a tag, a link, a picture, an entity, or emphasis; an underscore within a word can't."""


def render_markdown(document: Document, *, figures: bool = True) -> str:
    """Render a document as Markdown. figures: whether they lie beside the text; else they are left out."""
    parts = [f"# {_plain(document.title)}", *([_plain(document.about)] if document.about else [])]
    if figures and document.main_result is not None:
        parts.append(f"![{_plain(_one_line(document.title))}]({CARD})")
    for section in document.sections:
        blocks = [block for block in section.blocks if figures or not isinstance(block, Drawing)]
        parts += [f"## {_text(section.title)}", *map(_block, blocks)]
    return printable("\n\n".join(parts) + "\n")


def _block(block: Block) -> str:
    match block:
        case Paragraph():
            return _text(block.text)
        case Bullets():
            return "\n".join(f"- {_text(item)}" for item in block.items)
        case Code():
            return "\n".join(["```sh", *map(_one_line, block.lines), "```"])
        case Table():
            return _table(block)
        case Drawing():
            shown = f"![{_plain(block.alt)}]({block.name}.png)"
            return f"{shown}\n\n{_text(block.caption)}" if block.caption else shown


def _table(table: Table) -> str:
    header = tuple(Cell(text=column.title) for column in table.columns)
    escaped = ["| " + " | ".join(map(_cell, line)) + " |" for line in (header, *table.rows)]
    rule = "|" + "".join("---|" if column.words else "---:|" for column in table.columns)
    titled = [f"### {_text(table.title)}", ""] if table.title else []
    return "\n".join([*titled, escaped[0], rule, *escaped[1:]])


def _cell(cell: Cell) -> str:
    text = _text(cell.text).replace("|", "\\|")
    return f"[{text}]({cell.link})" if cell.link else text


def _text(text: str) -> str:
    return "".join(map(_span, spans(_one_line(text))))


def _span(span: Span) -> str:
    match span.style:
        case "code":
            return f"`{span.text}`"
        case "strong":
            return f"**{_plain(span.text)}**"
        case "plain":
            return _plain(span.text)


def _plain(text: str) -> str:
    """Escape what Markdown would take for markup: names from a run's data are text, whatever is in them."""
    return SPECIAL.sub(r"\\\g<0>", text)


def _one_line(text: str) -> str:
    return " ".join(text.split())
