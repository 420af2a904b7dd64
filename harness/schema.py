"""Schemas of files that are read back: whatever a file holds, it is of its kind, or one sentence says where it is not.

A file kind is a dataclass whose fields have the types below, which convert nothing: a number in quotes is no number.
Fields that a schema does not have are left out, so that files of later versions can be read.
"""

from __future__ import annotations

import json
import stat
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast

from pydantic import Field, Strict, StrictBool, StrictInt, StrictStr, TypeAdapter, ValidationError

__all__ = [
    "Count",
    "Number",
    "Portion",
    "Positive",
    "StrictBool",
    "StrictInt",
    "StrictStr",
    "Threads",
    "fitted",
    "read_json",
    "read_object",
]

KindT = TypeVar("KindT")
Count = Annotated[int, Strict(), Field(ge=0, lt=2**63)]
Threads = Annotated[int, Strict(), Field(ge=1, lt=2**31)]
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Positive = Annotated[float, Strict(), Field(ge=1e-12, le=1e15, allow_inf_nan=False)]
"""Bounded far beyond what can be measured, so that quotients of two are numbers that can be shown."""
Portion = Annotated[float, Strict(), Field(ge=0, le=1, allow_inf_nan=False)]


def fitted(kind: type[KindT], content: object) -> KindT:
    """Return a file's content as its kind. Raises ValueError, in words, for the first place that does not fit."""
    try:
        return cast(KindT, _adapter(cast(Any, kind)).validate_python(content))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ").replace("Input should", "it should")
        raise ValueError(f"{place}: {message}" if place else message) from error


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises OSError where there is no such file, and ValueError where it holds something else or is no plain file: a pipe
    would keep its reader waiting for ever.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no plain file")
    try:
        return json.loads(path.read_bytes().decode("utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_object(path: Path) -> dict[str, Any] | None:
    """Read a JSON file's object; returns None where the file is missing or damaged."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
