"""Batching strategies for SAM2-style models, usable as a library of their own."""

from strategies.base import Strategy
from strategies.direct import Direct
from strategies.errors import UnavailableError, UserError
from strategies.extended_session import ExtendedSession
from strategies.models import MODELS, load_model
from strategies.models.sam2 import Sam2
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
    "Sequential",
    "Strategy",
    "Tracker",
    "Triton",
    "UnavailableError",
    "UserError",
    "VisionFeatures",
    "load_model",
]
