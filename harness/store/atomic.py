"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from strategies.errors import UserError

UNFINISHED = ".*.partial"
"""A pattern for files that are not whole yet, or that a killed process left so."""


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file as `whole_file` does."""
    # Names of files, which texts quote, may hold any bytes.
    data = content if isinstance(content, bytes) else content.encode("utf-8", errors="backslashreplace")
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file beside its place and move it there, so that a reader never sees half of it; folders are made.

    Where the place holds a link, the file takes the link's place and not its target's. Raises UserError where the file
    can't be written; what was there before stays.
    """
    partial = path.with_name(f".{secrets.token_hex(8)}.partial")  # Another process may write the same file meanwhile.
    try:
        _refuse_what_is_no_file(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()  # A full disk needs the room.
        if not isinstance(error, OSError):
            raise
        raise UserError(f"{path} can't be written ({error.strerror})") from error


def refuse_unwritable(path: Path) -> None:
    """Raise UserError where a file can't be written, as far as that shows without writing it.

    It is for commands that work for minutes before they write. Nothing is left behind.
    """
    try:
        _refuse_what_is_no_file(path)
        with TemporaryFile(dir=next(folder for folder in path.absolute().parents if folder.exists())):
            pass
    except OSError as error:
        raise UserError(f"{path} can't be written ({error.strerror})") from error


def _refuse_what_is_no_file(path: Path) -> None:
    """Raise UserError where the place holds something else: a device or a pipe would be gone, for everybody."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is there and is no plain file: give another place to write to")


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left unfinished in a folder and those in it; nobody may be writing there."""
    for partial in folder.rglob(UNFINISHED):
        with suppress(OSError):
            partial.unlink()
