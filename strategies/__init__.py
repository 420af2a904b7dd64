"""Batching strategies for SAM2-style models, usable as a library of their own.

Names are imported when they are first asked for, so that a program which needs only `strategies.errors` does not wait
for torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strategies.base import Strategy
    from strategies.direct import Direct
    from strategies.errors import UnavailableError, UserError
    from strategies.extended_session import ExtendedSession
    from strategies.models.loading import MODELS, load_model
    from strategies.models.sam2 import Sam2
    from strategies.models.sam3_tracker import Sam3Tracker
    from strategies.models.tracker import Tracker
    from strategies.multi_session import MultiSession
    from strategies.propagate import Propagate
    from strategies.rebuild import Rebuild
    from strategies.sequential import Sequential
    from strategies.triton import Triton
    from strategies.vocabulary import Predictions, References, VisionFeatures

__all__ = [
    "MODELS",
    "Direct",
    "ExtendedSession",
    "MultiSession",
    "Predictions",
    "Propagate",
    "Rebuild",
    "References",
    "Sam2",
    "Sam3Tracker",
    "Sequential",
    "Strategy",
    "Tracker",
    "Triton",
    "UnavailableError",
    "UserError",
    "VisionFeatures",
    "load_model",
]

_MODULES = {
    "base": ("Strategy",),
    "direct": ("Direct",),
    "errors": ("UnavailableError", "UserError"),
    "extended_session": ("ExtendedSession",),
    "models.loading": ("MODELS", "load_model"),
    "models.sam2": ("Sam2",),
    "models.sam3_tracker": ("Sam3Tracker",),
    "models.tracker": ("Tracker",),
    "multi_session": ("MultiSession",),
    "propagate": ("Propagate",),
    "rebuild": ("Rebuild",),
    "sequential": ("Sequential",),
    "triton": ("Triton",),
    "vocabulary": ("Predictions", "References", "VisionFeatures"),
}
"""The names that each module has for users of the package."""


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            value = globals()[name] = getattr(import_module(f"{__name__}.{module}"), name)
            return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
