"""``python -m harness.worker FD``: one job in a process of its own. Started by `harness.isolation`, not by people.

The job comes by pickle on standard input, stages and the result go out as JSON lines on the file descriptor FD;
standard output and error are the strategy's own affair.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import struct
import sys
import threading
from dataclasses import asdict
from typing import Any

from harness.failures import failure_of

LENGTH = struct.Struct("!Q")
"""Goes before the pickled job, so that standard input can stay open behind it."""


def main() -> int:
    messages = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")

    def say(kind: str, content: Any) -> None:
        print(json.dumps({kind: content}), file=messages, flush=True)

    (length,) = LENGTH.unpack(_read(LENGTH.size))
    content = _read(length)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        result = pickle.loads(content).run(lambda stage: say("stage", stage))
    except BaseException as error:  # SystemExit too: whatever a strategy raises, somebody must be told
        failure = failure_of(error)
    else:
        say("done", None if result is None else asdict(result))
        return 0
    say("failure", asdict(failure))  # here, where the error and all that its frames hold are gone
    return 1


def _read(count: int) -> bytes:
    """Of standard input, past Python's buffer: `_die_with_parent` reads there too."""
    parts = b""
    while len(parts) < count:
        part = os.read(0, count - len(parts))
        if not part:
            raise SystemExit("no job came")
        parts += part
    return parts


def _die_with_parent() -> None:
    """Standard input ends when the parent does, however it ends; then nobody waits for this worker any more.

    The worker leads a process group, and takes with it whatever the strategy started.
    """
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    raise SystemExit(main())
