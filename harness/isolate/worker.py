"""``python -m harness.isolate.worker FD``: one job in a process of its own.

It is started by `harness.isolate.processes`, not by people: by this command, or as a fork of a template that has
imported what workers need.

The job comes by pickle on standard input, stages and the result go out as JSON lines on the file descriptor FD;
standard output and error are left to the strategy.
"""

from __future__ import annotations

import faulthandler
import fcntl
import json
import os
import pickle
import select
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from typing import Any

LENGTH = struct.Struct("!Q")
"""The format of the pickled job's length, which goes before it, so that standard input can stay open."""


def work(pipe: int) -> int:
    """Do the job that comes on standard input, and tell of it on a pipe; returns the exit code."""
    messages = os.fdopen(pipe, "w", encoding="utf-8")

    def send(kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=messages, flush=True)

    faulthandler.enable()  # A crash of the interpreter then prints a stack.
    (length,) = LENGTH.unpack(_read(LENGTH.size))
    content = _read(length)
    _die_with_parent()
    # Imports take seconds, in which the parent may be killed, so they come after that.
    from harness.isolate.failures import failure_of

    try:
        result = pickle.loads(content).run(lambda stage: send("stage", stage))
    except BaseException as error:  # SystemExit too: whatever a strategy raises must be reported.
        failure = failure_of(error)
    else:
        _flush()
        send("done", None if result is None else asdict(result))
        return 0
    _flush()
    send("failure", asdict(failure))  # The error and all that its frames hold are gone by now.
    return 1


def _flush() -> None:
    """Write what was printed: threads that the strategy left may keep this process from its end until it is killed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # The strategy has closed it, or put something else there.
            stream.flush()


def _read(count: int) -> bytes:
    """Read so many bytes of standard input, past Python's buffer, because `_die_with_parent` polls it too."""
    parts = b""
    while len(parts) < count:
        part = os.read(0, count - len(parts))
        if not part:
            raise SystemExit("no job came")
        parts += part
    return parts


def _die_with_parent() -> None:
    """Have the system kill this worker when standard input ends, as it does when the parent ends in any way.

    The worker leads a process group, and takes with it whatever the strategy started. A thread that waits for the end
    would not do: a strategy that hangs in C may hold the interpreter.
    """
    fcntl.fcntl(0, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(0, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    if select.select([0], [], [], 0)[0]:  # It ended before that was arranged.
        os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(work(int(sys.argv[1])))
