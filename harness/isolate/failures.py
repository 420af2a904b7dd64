"""What went wrong, as a status and a reason that a person understands."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path

from harness.row import Status
from strategies.errors import UnavailableError, UserError, out_of_memory, tells_of_memory


@dataclass(frozen=True, kw_only=True)
class Failure:
    """status: how the point ends by it. refused: whether it is the user's input that has to be mended."""

    status: Status
    reason: str
    refused: bool = False


def failure_of(error: BaseException) -> Failure:
    """Of an exception that a point raised."""
    if isinstance(error, UserError):
        return Failure(status="skipped", reason=str(error), refused=not isinstance(error, UnavailableError))
    first = (str(error).strip() or "no message").splitlines()[0]
    return Failure(status="oom" if out_of_memory(error) else "crash", reason=f"{type(error).__name__}: {first}")


def failure_of_exit(code: int, *, output: str, doing: str, oom_kills: int) -> Failure:
    """Of a worker that ended without a result.

    code: its exit code, negative for a signal. output: the end of what it printed. doing: the stage it was in.
    oom_kills: processes that the system killed for want of memory meanwhile (see `count_oom_kills`).
    """
    last = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    said = f"; it last said: {last[:300]}" if last else ""
    if code == -signal.SIGKILL and oom_kills > 0:
        return Failure(status="oom", reason=f"the system killed the worker for want of memory, while {doing}")
    if "MemoryError" in output or tells_of_memory(output):
        return Failure(status="oom", reason=f"the worker ran out of memory and could not go on, while {doing}{said}")
    if code < 0:
        name = _signal_name(-code)
        hint = " (by hand, or by the system for want of memory)" if code == -signal.SIGKILL else ""
        return Failure(status="crash", reason=f"the worker was killed by {name}{hint}, while {doing}{said}")
    return Failure(status="crash", reason=f"the worker exited with code {code}, while {doing}{said}")


def count_oom_kills() -> int:
    """How many processes this system has killed for want of memory since it started; 0 where it does not tell."""
    try:
        lines = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time signals between the first and the last have no name
        return f"signal {number}"
