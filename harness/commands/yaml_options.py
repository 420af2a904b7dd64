"""Options as the YAML files of ``conf/`` write them, with the comments behind them, which YAML's readers throw away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

COMPOSITION = ("defaults", "hydra", "_target_")
"""Keys by which Hydra puts options together; they are no options."""
PACKAGE = "# @package"


@dataclass(frozen=True, kw_only=True)
class Option:
    """An option by its full key. default: as it is written, or None for a group of options. comment: "" without one."""

    key: str
    default: str | None
    comment: str


def options_in(text: str, *, prefix: str = "") -> list[Option]:
    """Return all options of a YAML file, in order, groups before their members; ``prefix`` goes before every key."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    return list(_options(root, prefix, text.splitlines())) if isinstance(root, yaml.MappingNode) else []


def choices_in(text: str) -> list[Option]:
    """Return the option groups in a primary config's defaults list, each with the member that is the default."""
    lines = text.splitlines()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    (listed,) = (value for key, value in root.value if key.value == "defaults")
    pairs = [pair for entry in listed.value if isinstance(entry, yaml.MappingNode) for pair in entry.value]
    return [
        Option(key=key.value, default=value.value, comment=_comment_after(value.end_mark, lines))
        for key, value in pairs
        if not key.value.startswith("override ")
    ]


def header_of(text: str) -> str:
    """Return the comment that a YAML file begins with, as one line."""
    header = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith(PACKAGE):
            header.append(line.lstrip("# ").rstrip())
    return " ".join(header)


def is_global(text: str) -> bool:
    """Return whether the keys of a group's file are full ones already."""
    return text.startswith(f"{PACKAGE} _global_")


def _options(node: yaml.MappingNode, prefix: str, lines: list[str]) -> Iterator[Option]:
    for key, value in node.value:
        name = prefix + key.value
        if key.value in COMPOSITION:
            continue
        if isinstance(value, yaml.MappingNode) and not value.flow_style:
            yield Option(key=name, default=None, comment=_comment_after(key.end_mark, lines))
            yield from _options(value, f"{name}.", lines)
        else:
            written = lines[value.start_mark.line][value.start_mark.column : value.end_mark.column]
            yield Option(key=name, default=written, comment=_comment_after(value.end_mark, lines))


def _comment_after(mark: yaml.Mark, lines: list[str]) -> str:
    rest = lines[mark.line][mark.column :].lstrip(": ") if mark.line < len(lines) else ""
    return rest.lstrip("# ").rstrip() if rest.startswith("#") else ""
