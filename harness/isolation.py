"""A job in a spawned process of its own: nothing that it does can harm the sweep (DESIGN section 4, rule 1).

The parent sleeps on the worker's pipes. It wakes for messages, for what the worker prints (of which it keeps the end),
and once a second to see whether the worker is still alive, because a grandchild can hold the pipes open.
"""

from __future__ import annotations

import json
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from harness.failures import Failure, count_oom_kills, failure_of, failure_of_exit
from harness.jobs import Job
from harness.results import PointResult
from harness.worker import LENGTH

KEPT_OUTPUT = 16_384
LONGEST_MESSAGE = 1 << 28
GRACE = 10.0
"""Seconds that a worker may take to exit when it has said what it had to say."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """result: of a job that was done and has one. failure: of a job that was not done. output: the end of what was
    printed."""

    result: PointResult | None = None
    failure: Failure | None = None
    output: str = ""


def run_inline(job: Job, *, on_stage: Callable[[str], None]) -> Outcome:
    """The job in this process, for debugging: a crash ends everything."""
    try:
        return Outcome(result=job.run(on_stage))
    except Exception as error:
        return Outcome(failure=failure_of(error))


def run_spawned(job: Job, *, timeout: float | None, on_stage: Callable[[str], None]) -> Outcome:
    """The job in a process of its own, killed when it takes longer than ``timeout`` seconds.

    Whatever ends this call, KeyboardInterrupt too, the worker and all that it started are gone.
    """
    worker = _Worker(job, on_stage)
    try:
        return worker.outcome(timeout)
    finally:
        worker.kill()


class _Worker:
    def __init__(self, job: Job, on_stage: Callable[[str], None]) -> None:
        self._on_stage = on_stage
        self._doing = "starting"
        self._said: Outcome | None = None
        self._garbage: bytes | None = None
        self._unread = b""
        self._output = b""
        self._oom_kills = count_oom_kills()
        messages, theirs = os.pipe()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.worker", str(theirs)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs,),
            start_new_session=True,  # a group to kill, and Ctrl-C reaches the parent alone
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            bufsize=0,
        )
        os.close(theirs)
        self._messages = messages
        content = pickle.dumps(job)
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # a worker that died at once is found out below
            self._process.stdin.write(LENGTH.pack(len(content)) + content)

    def outcome(self, timeout: float | None) -> Outcome:
        end = float("inf") if timeout is None else time.monotonic() + timeout
        finished = self._listen(end)
        output = self._output.decode(errors="replace")
        if self._garbage is not None:
            told = self._garbage[:80].decode(errors="replace")
            reason = f"the worker's pipe brought what is no message ({told!r}), while {self._doing}"
            return Outcome(failure=Failure(status="crash", reason=reason), output=output)
        if self._said is not None:
            return replace(self._said, output=output)
        if not finished:
            reason = f"longer than timeout={timeout:g} seconds, while {self._doing}; raise timeout= or ask for less"
            return Outcome(failure=Failure(status="timeout", reason=reason), output=output)
        kills = count_oom_kills() - self._oom_kills
        code = self._process.wait()
        return Outcome(failure=failure_of_exit(code, output=output, doing=self._doing, oom_kills=kills), output=output)

    def kill(self) -> None:
        # The group is killed before the worker is waited for: until then nobody else can have its number.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        os.close(self._messages)

    def _listen(self, end: float) -> bool:
        """Until the worker is gone, has told its end and had its grace, or broke the rules; False when time is over."""
        with selectors.DefaultSelector() as selector:
            assert self._process.stdout is not None
            selector.register(self._messages, selectors.EVENT_READ, self._take_message)
            selector.register(self._process.stdout.fileno(), selectors.EVENT_READ, self._take_output)
            while selector.get_map() and self._garbage is None:
                left = end - time.monotonic()
                if left <= 0:
                    return self._said is not None
                ready = selector.select(min(left, 1.0))
                for key, _ in ready:
                    part = os.read(key.fd, 1 << 16)
                    key.data(part)
                    if not part:
                        selector.unregister(key.fd)
                if self._said is not None:
                    end = min(end, time.monotonic() + GRACE)
                if not ready and self._process.poll() is not None:
                    break
        return True

    def _take_output(self, part: bytes) -> None:
        self._output = (self._output + part)[-KEPT_OUTPUT:]

    def _take_message(self, part: bytes) -> None:
        *lines, self._unread = (self._unread + part).split(b"\n")
        for line in lines:
            self._take_line(line)
        if len(self._unread) > LONGEST_MESSAGE or (not part and self._unread):
            self._garbage = self._unread

    def _take_line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
            match message:
                case {"stage": str(stage)}:
                    self._doing = stage
                    self._on_stage(stage)
                case {"done": None}:
                    self._said = Outcome()
                case {"done": result}:
                    self._said = Outcome(result=PointResult.from_json(result))
                case {"failure": dict(failure)}:
                    self._said = Outcome(failure=Failure(**failure))
                case _:
                    raise ValueError("no message")
        except (ValueError, TypeError):
            self._garbage = line
