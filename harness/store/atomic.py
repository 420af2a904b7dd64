"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from strategies.errors import UserError


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place and move it there, so that a reader never sees half of it; folders are made.

    Raises UserError where the file can't be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open(
            "w", encoding="utf-8", errors="backslashreplace"
        ) as file:  # Names of files may hold any bytes.
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()  # A full disk needs the room.
        raise UserError(f"{path} can't be written ({error.strerror})") from error
