"""What all command lines share: bad input is one sentence, an interrupt is code 130, and no stream decides the rest."""

from __future__ import annotations

import errno
import faulthandler
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any, TextIO, cast

from strategies.errors import UserError

BAD_INPUT, INTERRUPTED = 2, 130
"""Exit codes."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Characters that a terminal would obey: words of files and options are not to move its cursor."""


def start(module: str, arguments: Sequence[str] | None = None) -> int:
    """Import a command's module and run its ``main``, which returns the exit code.

    arguments: the words of the command line; None for those that this process was started with.

    An import takes seconds, and an interrupt meanwhile ends the process at once, because there is nothing to clean up.
    A crash of the interpreter prints a stack, wherever there is something to print to.
    """
    with suppress(RuntimeError, OSError, ValueError):
        if not faulthandler.is_enabled():
            faulthandler.enable()
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    main: Callable[..., int] = import_module(module).main
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, before)
    return main() if arguments is None else main(arguments)


def guarded(run: Callable[[], int]) -> int:
    """Run a command and return its exit code; bad input is reported in one sentence."""
    with _steady_streams():
        try:
            return run()
        except UserError as error:
            print(f"error: {printable(str(error))}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt:
            return INTERRUPTED


@contextmanager
def terminable() -> Iterator[None]:
    """Let a request to terminate, as batch systems send it, end the command as cleanly as Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread can set handlers.
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def printable(text: str) -> str:
    """Return a text as one line that moves no cursor."""
    return UNPRINTABLE.sub(lambda found: " " if found[0] == "\n" else repr(found[0])[1:-1], text)


def shortened(text: str, most: int = 1000) -> str:
    """Return the beginning of a text as one line, with a mark where more would follow."""
    return printable(text if len(text) <= most else f"{text[:most]}...")


class _Steady:
    """A stream that fails nobody: once it can't be written to, what is written to it goes nowhere."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream = stream
        self._name = name

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:
            encoding = self._stream.encoding or "ascii"
            return self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())  # Python writes what it still has when it ends.
            os.close(nowhere)
        if error.errno != errno.EPIPE and self._name == "stdout":  # Whoever closed a pipe has read enough.
            print(f"warning: standard output can't be written to ({error.strerror})", file=sys.stderr)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def _steady_streams() -> Iterator[None]:
    """Let no output fail: results are on disk whether or not anyone can read what is said of them."""
    before = sys.stdout, sys.stderr
    streams = [_Steady(stream, name) for stream, name in zip(before, ("stdout", "stderr"), strict=True) if stream]
    for stream in streams:
        setattr(sys, stream._name, cast(TextIO, stream))
    try:
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before
