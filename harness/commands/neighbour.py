"""``python -m harness.commands.neighbour``: a busy process, beside which the harness is certified.

It keeps a processor and its memory busy until its standard input ends, as it does when whoever started it is gone.
"""

from __future__ import annotations

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from harness.isolate.processes import child_environment

NUMBERS = 1 << 23
"""Numbers of an array; two arrays of 64 MiB are more than a processor's caches hold."""


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """Have so many busy processes run meanwhile; they are busy when this begins, and gone when it ends."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            started.append(
                subprocess.Popen(
                    [sys.executable, "-m", "harness.commands.neighbour"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C is for the command, which ends them.
                    env=child_environment(),
                )
            )
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()
        yield
    finally:
        for process in started:
            process.kill()
            process.communicate()


def main() -> None:
    here, there = np.zeros(NUMBERS), np.ones(NUMBERS)
    print("busy", flush=True)
    while not select.select([sys.stdin], [], [], 0)[0]:
        np.add(there, 1.0, out=here)
        np.copyto(there, here)


if __name__ == "__main__":
    main()
