"""Failures of points, each with a status and a reason that a person understands."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from pathlib import Path

from harness.isolate.tracebacks import fatal_error_in, traceback_of
from harness.row import Status
from strategies.errors import UnavailableError, UserError, out_of_memory, tells_of_memory


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A failure of a point.

    status: how the point ends by it. refused: whether the user's input has to be mended. killed: whether its process
    was ended from without, so that another try may go well. traceback: its whole text; empty where there is none, and
    where the reason says what the user has to do. Two failures for the same reason are equal, wherever they came from.
    """

    status: Status
    reason: str
    refused: bool = False
    killed: bool = field(default=False, compare=False)
    traceback: str = field(default="", compare=False, repr=False)


def failure_of(error: BaseException) -> Failure:
    """Return the failure of an exception that a point raised."""
    if isinstance(error, UserError):
        return Failure(status="skipped", reason=str(error), refused=not isinstance(error, UnavailableError))
    return Failure(
        status="oom" if _for_want_of_memory(error) else "crash",
        reason=f"{type(error).__name__}: {_first_line(error)}",
        traceback=traceback_of(error),
    )


def _for_want_of_memory(error: BaseException) -> bool:
    try:
        return out_of_memory(error)
    except Exception:  # Its message can't be read.
        return False


def _first_line(error: BaseException) -> str:
    """Return the first line of an exception's message, also where its own ``__str__`` fails."""
    try:
        text = str(error).strip()
    except Exception:  # A strategy's exceptions are its author's.
        text = "its message can't be read"
    return (text or "no message").splitlines()[0]


def failure_of_exit(code: int, *, output: str, doing: str, oom_kills: int) -> Failure:
    """Return the failure of a worker that ended without a result.

    code: its exit code, negative for a signal. output: the end of what it printed. doing: the stage it was in.
    oom_kills: processes that the system killed for want of memory meanwhile (see `count_oom_kills`).
    """
    before, dump = fatal_error_in(output)
    last = next((line.strip() for line in reversed(before.splitlines()) if line.strip()), "")
    said = f"; it last said: {last[:300]}" if last else ""
    if code == -signal.SIGKILL and oom_kills > 0:
        reason = f"the system killed the worker for want of memory, while {doing}"
        return Failure(status="oom", reason=reason, killed=True)
    if "MemoryError" in output or tells_of_memory(output):
        return Failure(status="oom", reason=f"the worker ran out of memory and could not go on, while {doing}{said}")
    if code < 0:
        name = _signal_name(-code)
        hint = " (by hand, or by the system for want of memory)" if code == -signal.SIGKILL else ""
        reason = f"the worker was killed by {name}{hint}, while {doing}{said}"
        killed = -code in (signal.SIGKILL, signal.SIGTERM)
        return Failure(status="crash", reason=reason, killed=killed, traceback=dump)
    return Failure(status="crash", reason=f"the worker exited with code {code}, while {doing}{said}", traceback=dump)


def count_oom_kills() -> int:
    """Return how many processes the system has killed for want of memory since it started; 0 where that is unknown."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # The real-time signals between the first and the last have no name.
        return f"signal {number}"
