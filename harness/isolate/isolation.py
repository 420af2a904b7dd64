"""A job in a process of its own: nothing that it does can harm the sweep (DESIGN section 4, rule 1).

The parent sleeps on the worker's pipes. It wakes for messages, for what the worker prints (of which it keeps the end),
and once a second to see whether the worker is still alive, because a grandchild can hold the pipes open, and a worker
can close them.
"""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from harness.isolate.failures import Failure, count_oom_kills, failure_of, failure_of_exit
from harness.isolate.processes import Start, spawn
from harness.isolate.worker import LENGTH
from harness.result import PointResult
from harness.row import STATUSES
from strategies.errors import UserError

if TYPE_CHECKING:
    from harness.isolate.jobs import Job

KEPT_OUTPUT = 16_384
LONGEST_MESSAGE = 1 << 28
GRACE = 10.0
"""Seconds that a worker may take to exit after its last message."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of a job.

    result: what a job that was done returned, if anything. failure: why a job was not done. output: the end of what was
    printed. error: what the job raised in this process, for a debugger; None where the reason says what to do.
    """

    result: PointResult | None = None
    failure: Failure | None = None
    output: str = ""
    error: Exception | None = field(default=None, compare=False, repr=False)


def run_inline(job: Job, *, on_stage: Callable[[str], None]) -> Outcome:
    """Run the job in this process, for debugging. Exceptions are kept; a crash of the interpreter ends everything."""
    try:
        return Outcome(result=job.run(on_stage))
    except UserError as error:
        return Outcome(failure=failure_of(error))
    except Exception as error:
        return Outcome(failure=failure_of(error), error=error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit, for one: it must end neither the sweep nor the command.
        failure = failure_of(error)
        raised = RuntimeError(f"the strategy raised {failure.reason}").with_traceback(error.__traceback__)
        raised.__cause__ = error
        return Outcome(failure=failure, error=raised)


def run_apart(job: Job, *, timeout: float | None, on_stage: Callable[[str], None], start: Start = spawn) -> Outcome:
    """Run the job in a process of its own, which is killed when it takes longer than ``timeout`` seconds.

    start: how that process begins. Whatever ends this call, KeyboardInterrupt too, the worker and all that it started
    are gone.
    """
    try:
        worker = _Worker(job, on_stage, start)
    except OSError as error:  # The system has no room for another process.
        return Outcome(failure=failure_of(error))
    try:
        in_time = worker.listen(timeout)
    finally:
        worker.kill()
    if in_time:
        return worker.outcome()
    reason = f"longer than timeout={timeout:g} seconds, while {worker.doing}; raise timeout= or ask for less"
    return Outcome(failure=Failure(status="timeout", reason=reason), output=worker.output)


class _Worker:
    def __init__(self, job: Job, on_stage: Callable[[str], None], start: Start) -> None:
        content = pickle.dumps(job)
        self.doing = "starting"
        self._on_stage = on_stage
        self._reported: Outcome | None = None
        self._garbage: bytes | None = None
        self._unsent = memoryview(LENGTH.pack(len(content)) + content)
        self._unread = bytearray()
        self._output = b""
        self._oom_kills = count_oom_kills()
        self._messages, theirs = os.pipe()
        try:
            self._process = start(theirs)
        except BaseException:
            os.close(self._messages)
            raise
        finally:
            os.close(theirs)

    @property
    def output(self) -> str:
        return self._output.decode(errors="replace")

    def listen(self, timeout: float | None) -> bool:
        """Listen until the worker is gone, has ended and had its grace, or sent garbage; False when time is over."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        stdin, stdout = self._process.stdin, self._process.stdout
        os.set_blocking(stdin.fileno(), False)  # A worker that takes no job must not stop the clock.
        with selectors.DefaultSelector() as selector:
            selector.register(stdin, selectors.EVENT_WRITE, self._send_job)
            selector.register(self._messages, selectors.EVENT_READ, self._take_message)
            selector.register(stdout, selectors.EVENT_READ, self._take_output)
            while self._garbage is None:
                gone = self._process.is_gone()
                if gone or self._reported is not None:
                    end = min(end, time.monotonic() + GRACE)
                left = end - time.monotonic()
                if left <= 0:
                    return gone or self._reported is not None
                pause = 1.0 if selector.get_map() else 0.01  # With all pipes closed, the end is near and wakes nobody.
                ready = selector.select(0 if gone else min(left, pause))
                if gone and not ready:
                    break
                for key, _ in ready:
                    if not key.data(key.fd):
                        selector.unregister(key.fd)
        return True

    def kill(self) -> None:
        # The group is killed before the worker is waited for: until then nobody else can have its number.
        with suppress(ProcessLookupError):
            os.killpg(self._process.number, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        os.close(self._messages)

    def outcome(self) -> Outcome:
        """Return the outcome of a worker that was not stopped by the clock; it is gone by now."""
        if self._garbage is not None:
            start = self._garbage[:80].decode(errors="replace")
            reason = f"the worker's pipe brought what is no message ({start!r}), while {self.doing}"
            return Outcome(failure=Failure(status="crash", reason=reason), output=self.output)
        if self._reported is not None:
            return replace(self._reported, output=self.output)
        kills = count_oom_kills() - self._oom_kills
        failure = failure_of_exit(self._process.wait(), output=self.output, doing=self.doing, oom_kills=kills)
        return Outcome(failure=failure, output=self.output)

    def _send_job(self, pipe: int) -> bool:
        """Send the next part of the job; returns whether more is left. `outcome` finds a worker that died at once."""
        try:
            self._unsent = self._unsent[os.write(pipe, self._unsent) :]
        except BrokenPipeError:
            return False
        return len(self._unsent) > 0

    def _take_output(self, pipe: int) -> bool:
        part = os.read(pipe, 1 << 16)
        self._output = (self._output + part)[-KEPT_OUTPUT:]
        return len(part) > 0

    def _take_message(self, pipe: int) -> bool:
        part = os.read(pipe, 1 << 16)
        begun, *others = part.split(b"\n")
        self._unread += begun
        for line in others:
            self._take_line(bytes(self._unread))
            self._unread = bytearray(line)
        if len(self._unread) > LONGEST_MESSAGE or (not part and self._unread):
            self._garbage = bytes(self._unread)
        return len(part) > 0

    def _take_line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            match message:
                case {"stage": str(stage)}:
                    self.doing = stage
                case {"done": None}:
                    self._reported = Outcome()
                case {"done": result}:
                    self._reported = Outcome(result=PointResult.from_json(result))
                case {"failure": {"status": str(status), "reason": str(), "traceback": str()} as failure} if (
                    status in STATUSES
                ):
                    self._reported = Outcome(failure=Failure(**failure))
                case _:
                    raise ValueError("no message")
        except (ValueError, TypeError, RecursionError):
            self._garbage = line
            return
        if isinstance(message.get("stage"), str):  # What the listener raises is no fault of the message.
            self._on_stage(message["stage"])
