"""How a worker's process begins: in an interpreter of its own, or as a fork of one that has imported all it needs."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from harness.isolate.template import NUMBER, Order, exactly, send

NEEDED = ("harness.isolate.jobs", "harness.masks.pictures", "strategies.models.loading", "strategies.models.sam2")
"""Modules that a template imports. They bring torch and transformers, which take nearly all of the time."""
READ_AT_START = (
    *("ATEN_", "CUDA_", "DNNL_", "GOMP_", "HF_", "KMP_", "LD_", "MALLOC_", "MKL_", "NUMEXPR_", "OMP_", "ONEDNN_"),
    *("OPENBLAS_", "PYTHON", "PYTORCH_", "TORCH", "TRANSFORMERS_", "TRITON_"),
)
"""Beginnings of the names of variables that libraries read when they are loaded: a template can't change its mind."""
LONGEST_START = 120.0
"""Seconds that a template may take to import all and to fork; where it takes longer, workers are spawned."""


class Process(Protocol):
    """A worker's process, which leads a process group. number: its process number, nobody else's until `wait`."""

    number: int
    stdin: IO[bytes]
    stdout: IO[bytes]

    def is_gone(self) -> bool:
        """Return whether it has ended, without waiting for it."""

    def wait(self) -> int:
        """Wait for its end, and give up its number; returns its exit code, negative for a signal."""


class Start(Protocol):
    """A function that begins a worker, with the end of a pipe for its messages. Raises OSError where it can't."""

    def __call__(self, messages: int, /) -> Process: ...


def spawn(messages: int, /) -> Process:
    """Begin a worker in an interpreter of its own."""
    return _Spawned(messages)


def fork(messages: int, /) -> Process:
    """Begin a worker as a fork of this process's template; where there can be none, it is spawned."""
    if sys.platform != "linux":  # Elsewhere forks of loaded libraries crash.
        return spawn(messages)
    try:
        return _Template.taken().fork(messages)
    except OSError:
        return spawn(messages)


class _Spawned:
    def __init__(self, messages: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.isolate.worker", str(messages)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(messages,),
            start_new_session=True,  # The group can be killed, and Ctrl-C reaches the parent alone.
            env=child_environment(),
            bufsize=0,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self.number = self._process.pid
        self.stdin, self.stdout = self._process.stdin, self._process.stdout

    def is_gone(self) -> bool:
        try:
            return os.waitid(os.P_PID, self.number, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # The system was asked to forget children at once.
            return True

    def wait(self) -> int:
        return self._process.wait()


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """What a template has imported, and with which variables."""

    modules: Sequence[str]
    variables: Mapping[str, str]


class _Template:
    """A template and the socket for its orders. It serves one worker at a time."""

    _lock = threading.Lock()
    _last: _Template | None = None

    def __init__(self, loaded: _Loaded) -> None:
        self._loaded = loaded
        self._owner = os.getpid()
        self.busy = False
        self.orders, theirs = socket.socketpair()
        self.orders.settimeout(LONGEST_START)
        with theirs:
            self._process = begin_template(theirs, loaded.modules)

    @classmethod
    def taken(cls) -> _Template:
        """Take this process's template, or a new one where its libraries would be loaded in another way now.

        Raises OSError where it serves a worker.
        """
        now = _Loaded(
            modules=NEEDED,
            variables={name: value for name, value in os.environ.items() if name.startswith(READ_AT_START)},
        )
        with cls._lock:
            last = cls._last
            if last is not None and last._owner != os.getpid():
                last = None
            if last is not None and last.busy:
                raise BlockingIOError("the template serves another worker")
            if last is not None and (last._process.poll() is not None or last._loaded != now):
                last.close()
                last = None
            cls._last = last or cls(now)
            cls._last.busy = True
            return cls._last

    def fork(self, messages: int) -> Process:
        """Have a worker forked. Raises OSError where none comes."""
        theirs_in, stdin = os.pipe()
        stdout, theirs_out = os.pipe()
        try:
            folder = str(Path.cwd())
            order = Order(folder=folder, environment=child_environment(), path=[folder, *filter(None, sys.path)])
            send(self.orders, order, [theirs_in, theirs_out, messages])
            (number,) = NUMBER.unpack(exactly(self.orders, NUMBER.size))
        except BaseException:  # A worker that was forked nevertheless ends when no job comes.
            os.close(stdin)
            os.close(stdout)
            self.close()
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        return _Forked(self, number, stdin=os.fdopen(stdin, "wb", 0), stdout=os.fdopen(stdout, "rb", 0))

    def close(self) -> None:
        self.orders.close()
        self._process.kill()
        self._process.wait()
        self.busy = False


class _Forked:
    def __init__(self, template: _Template, number: int, *, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self._template = template
        self._code: int | None = None
        self.number = number
        self.stdin, self.stdout = stdin, stdout

    def is_gone(self) -> bool:
        return self._code is not None or len(select.select([self._template.orders], [], [], 0)[0]) > 0

    def wait(self) -> int:
        if self._code is None:
            try:
                (self._code,) = NUMBER.unpack(exactly(self._template.orders, NUMBER.size))
                self._template.orders.sendall(b"\0")
                self._template.busy = False
            except OSError:  # The template was killed.
                self._code = -signal.SIGKILL
                self._template.close()
        return self._code


def begin_template(orders: socket.socket, modules: Sequence[str]) -> subprocess.Popen[bytes]:
    """Begin a template in an interpreter of its own. orders: its end of the socket."""
    return subprocess.Popen(
        [sys.executable, "-m", "harness.isolate.template", str(orders.fileno()), *modules],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(orders.fileno(),),
        start_new_session=True,
        env=child_environment(),
    )


def child_environment() -> dict[str, str]:
    """Return the variables with which a child in Python finds the modules that this process does."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
