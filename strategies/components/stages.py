"""Marks around the stages of a prediction, for whoever wants to know where its time goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch

from strategies.components.stage_names import (
    MASK_DECODER,
    MEMORY_ATTENTION,
    MEMORY_BANK,
    MEMORY_ENCODER,
    VISION_ENCODER,
)
from strategies.models.tracker import Tracker

__all__ = [
    "MASK_DECODER",
    "MEMORY_ATTENTION",
    "MEMORY_BANK",
    "MEMORY_ENCODER",
    "VISION_ENCODER",
    "Watcher",
    "stage",
    "watched",
]

Watcher = Callable[[str], AbstractContextManager[None]]
"""It makes, of a stage's name, a context that is entered and left with the stage."""

_watching: ContextVar[Watcher | None] = ContextVar("watching", default=None)


def stage(name: str) -> AbstractContextManager[None]:
    """Return a context around a strategy's own way through a stage; it does nothing unless watched."""
    watcher = None if torch.compiler.is_compiling() else _watching.get()
    return nullcontext() if watcher is None else _watched_by(watcher, name)


@contextmanager
def watched(model: Tracker, watcher: Watcher) -> Iterator[None]:
    """Let the watcher see each stage that this thread enters.

    These are the stages that strategies mark, and calls of the network's own modules. Of stages within stages it sees
    the outer one only.
    """
    with ExitStack() as undo:
        for name, module in vars(model.stage_modules).items():
            module.forward = _marked(module.forward, name)
            undo.callback(delattr, module, "forward")  # the class's own shows again
        undo.callback(_watching.reset, _watching.set(watcher))
        yield


@contextmanager
def _watched_by(watcher: Watcher, name: str) -> Iterator[None]:
    token = _watching.set(None)
    try:
        with watcher(name):
            yield
    finally:
        _watching.reset(token)


def _marked(forward: Callable[..., Any], name: str) -> Callable[..., Any]:
    @wraps(forward)
    def marked(*arguments: Any, **named: Any) -> Any:
        with stage(name):
            return forward(*arguments, **named)

    return marked
