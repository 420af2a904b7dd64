"""``python -m harness.isolate.template FD MODULE ...``: a process that has imported what workers need, and forks them.

It is started by `harness.isolate.processes`, not by people. A worker of its own interpreter imports torch and
transformers for seconds before it begins; a fork has them at once. Nothing is computed here before a fork, for the
threads of torch do not survive one, and neither does CUDA: workers on a GPU are spawned.

Orders come on the socket FD, one at a time. An order brings the worker's standard input, its standard output and the
pipe of its messages, and the state that a spawned process would have. The worker's number goes back, then its exit
code; its number is nobody else's until the answer to that has come.
"""

from __future__ import annotations

import gc
import importlib
import os
import pickle
import socket
import struct
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

NUMBER = struct.Struct("!q")
"""The format of all numbers on the socket: an order's length, a worker's number, its exit code."""
IDLE = 60.0
"""A template that gets no order for so many seconds ends, because it holds some hundreds of MB."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """The state that a worker begins with: its folder, environment and places of modules are those of the sweep."""

    folder: str
    environment: dict[str, str]
    path: list[str]


def serve(orders: socket.socket, modules: Sequence[str]) -> int:
    """Import modules and fork a worker for each order, one after another.

    Returns the exit code, of the template or of a worker.
    """
    for module in modules:
        importlib.import_module(module)
    gc.freeze()  # Workers neither copy what was imported nor look through it when they end, which takes a second.
    os.chdir("/")  # The sweep's folder may be removed while this waits for orders.
    while True:
        orders.settimeout(IDLE)
        try:
            order, pipes = receive(orders)
        except OSError:  # No order has come for long, or none will come.
            return 0
        with warnings.catch_warnings():  # From Python 3.12 on it warns of threads: numpy's sleep, and heed forks.
            warnings.simplefilter("ignore", DeprecationWarning)
            worker = os.fork()
        if worker == 0:
            orders.close()
            return _become(order, pipes)
        os.setpgid(worker, worker)  # Its group can be killed as soon as its number is known.
        for pipe in pipes:
            os.close(pipe)
        orders.settimeout(None)
        try:
            orders.sendall(NUMBER.pack(worker))
            ended = os.waitid(os.P_PID, worker, os.WEXITED | os.WNOWAIT)
            assert ended is not None
            orders.sendall(NUMBER.pack(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status))
            orders.recv(1)
        except OSError:  # The sweep is gone, and its worker with it.
            return 0
        finally:
            os.waitpid(worker, 0)


def send(orders: socket.socket, order: Order, pipes: Sequence[int]) -> None:
    """Send an order with the worker's ends of its pipes."""
    content = pickle.dumps(order)
    socket.send_fds(orders, [NUMBER.pack(len(content))], pipes)
    orders.sendall(content)


def receive(orders: socket.socket) -> tuple[Order, list[int]]:
    """Wait for an order. Raises OSError where none comes."""
    head, pipes, _, _ = socket.recv_fds(orders, NUMBER.size, 3)
    (length,) = NUMBER.unpack(head + exactly(orders, NUMBER.size - len(head)))
    return pickle.loads(exactly(orders, length)), pipes


def exactly(source: socket.socket, count: int) -> bytes:
    """Wait for so many bytes. Raises OSError where the other side is gone."""
    content = b""
    while len(content) < count:
        part = source.recv(count - len(content))
        if not part:
            raise ConnectionResetError("the other side is gone")
        content += part
    return content


def _become(order: Order, pipes: Sequence[int]) -> int:
    """Be a worker, in the state that a spawned one has; returns its exit code."""
    from harness.isolate.worker import work

    os.setpgid(0, 0)
    given, printed, messages = pipes
    for pipe, stream in ((given, 0), (printed, 1), (printed, 2)):
        os.dup2(pipe, stream)
    os.close(given)
    os.close(printed)
    os.environ.clear()
    os.environ.update(order.environment)
    sys.path[:] = order.path
    importlib.invalidate_caches()
    os.chdir(order.folder)
    return work(messages)


if __name__ == "__main__":
    raise SystemExit(serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2:]))
