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
from strategies.models.sam2 import Sam2

__all__ = ["MASK_DECODER", "MEMORY_ATTENTION", "MEMORY_BANK", "MODULES", "Watcher", "stage", "watched"]

MODULES = (VISION_ENCODER, MEMORY_ENCODER, MEMORY_ATTENTION, MASK_DECODER)
"""Stages named as the network's modules that do the same work."""

Watcher = Callable[[str], AbstractContextManager[None]]
"""Makes, of a stage's name, what is entered and left with it."""

_watching: ContextVar[Watcher | None] = ContextVar("watching", default=None)


def stage(name: str) -> AbstractContextManager[None]:
    """Around a strategy's own way through a stage; it does nothing unless watched."""
    watcher = None if torch.compiler.is_compiling() else _watching.get()
    return nullcontext() if watcher is None else _watched_by(watcher, name)


@contextmanager
def watched(model: Sam2, watcher: Watcher) -> Iterator[None]:
    """Within it, the watcher is told of each stage that this thread enters: those that strategies mark, and calls of
    the network's own modules. Of stages in stages only the outer one is told."""
    with ExitStack() as undo:
        for name in MODULES:
            module = getattr(model.network, name)
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
