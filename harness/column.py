"""Columns of a typed row: what a field of a dataclass says of itself beside its type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from types import NoneType
from typing import Any, Literal, get_args, get_origin, get_type_hints

Shown = Literal["never", "always", "where it varies"]
Comparison = Literal["ratio", "difference", "memory"]
LARGEST = 2**63 - 1
"""The largest whole number that the history's file and the report's tables can hold."""


def column(
    help: str,
    *,
    unit: str = "",
    format: str = "",
    identifies: bool = False,
    setting: bool = False,
    shown: Shown = "never",
    gate: Comparison | None = None,
    default: Any = MISSING,
) -> Any:
    """Return a field of a row; `Column` explains what is said of it."""
    metadata = {
        "unit": unit,
        "format": format,
        "help": help,
        "identifies": identifies,
        "setting": setting,
        "shown": shown,
        "gate": gate,
    }
    return field(default=default, metadata=metadata)


def measured(
    help: str, *, unit: str = "", format: str = "", shown: Shown = "never", gate: Comparison | None = None
) -> Any:
    """Return a field of a row that is None where it was not measured."""
    return column(help, unit=unit, format=format, shown=shown, gate=gate, default=None)


@dataclass(frozen=True, kw_only=True)
class Column:
    """The description of a column.

    kind: the type of its values; a float may be an int. choices: the only valid words, or none where any will do.
    optional: whether the value may be None. required: whether a row must give it. default: what a row that does not
    give it has. unit: empty for words and pure
    numbers. format: that of numbers, as `format` takes it; empty for words. help: a sentence that explains it.
    identifies: whether points that differ in it are different points. setting: whether it says what strategies are
    compared on, so that only points that agree in it are compared with each other. shown: when the terminal's table has
    it. gate: how the regression gate compares it (see `harness.gate.rule`); None where it does not.
    """

    name: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    required: bool
    default: Any
    unit: str
    format: str
    help: str
    identifies: bool
    setting: bool
    shown: Shown
    gate: Comparison | None

    def holds(self, value: object) -> bool:
        """Return whether the column can hold the value."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if isinstance(value, int) and abs(value) > LARGEST:
            return False
        if self.kind is float:
            return isinstance(value, int | float)
        return isinstance(value, self.kind) and (not self.choices or value in self.choices)


def columns_of(row: type) -> dict[str, Column]:
    """Return the columns of a row's class, by their names, in order."""
    hints = get_type_hints(row)
    return {one.name: _described(one.name, hints[one.name], one.default, one.metadata) for one in fields(row)}


def _described(name: str, hint: Any, default: Any, metadata: Mapping[str, Any]) -> Column:
    """Derive a column from its field's annotation, a type or a `Literal` of words, alone or with None."""
    union = not isinstance(hint, type) and get_origin(hint) is not Literal
    kinds = get_args(hint) if union else (hint,)
    (kind,) = (one for one in kinds if one is not NoneType)
    words = get_args(kind) if get_origin(kind) is Literal else ()
    return Column(
        name=name,
        kind=str if words else kind,
        choices=words,
        optional=NoneType in kinds,
        required=default is MISSING,
        default=None if default is MISSING else default,
        **metadata,
    )
