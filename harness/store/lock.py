"""The lock of a folder of results: two processes that wrote into one would undo each other's work."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.schema import StrictInt, StrictStr, fitted
from harness.store.atomic import remove_unfinished
from strategies.errors import UserError

NAME = ".lock"


@dataclass(frozen=True, kw_only=True)
class _Holder:
    pid: StrictInt
    host: StrictStr
    since: StrictStr


@contextmanager
def locked(
    run: Path,
    *,
    doing: str = "measured",
    otherwise: str = "leave out resume=",
    name: str = NAME,
    shared: bool = False,
    wait: bool = False,
) -> Iterator[None]:
    """Hold the lock of a run's folder, and remove first what a killed process left half written.

    The system releases the lock however the process ends. The file says who holds it, and is removed in the end. Raises
    UserError where another process has the lock, and OSError where the folder can't be written to.
    doing, otherwise: what a holder is doing with the folder, and what else there is to do than to wait, for its words.
    shared: whether others who share it may have the lock at the same time. wait: whether to wait for it. Neither
    removes anything, because others may be writing.
    """
    run.mkdir(parents=True, exist_ok=True)
    path = run / name
    descriptor = _acquired(path, doing, otherwise, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, wait=wait)
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": f"{datetime.now():%Y-%m-%d %H:%M:%S}"}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
        if not shared and not wait:
            remove_unfinished(run)
        yield
    finally:
        with suppress(OSError):
            if shared:  # The last to leave removes the file.
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()  # As long as the lock is held: whoever opened the file before finds that it is gone.
        os.close(descriptor)


def _acquired(path: Path, doing: str, otherwise: str, kind: int, *, wait: bool) -> int:
    """Return a descriptor of the file that holds its lock; file systems without locks are taken at their word."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
        except BlockingIOError as error:
            said = os.pread(descriptor, 1000, 0)
            os.close(descriptor)
            raise UserError(
                f"{path.parent} is being {doing} {_by_whom(said)}: wait until it ends, or {otherwise}"
            ) from error
        except OSError:
            return descriptor
        if _is_there(path, descriptor):
            return descriptor
        os.close(descriptor)  # Its holder removed it meanwhile.


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _by_whom(said: bytes) -> str:
    try:
        holder = fitted(_Holder, json.loads(said))
    except ValueError:
        return "by another process"
    return f"by process {holder.pid} on {holder.host} since {holder.since}"
