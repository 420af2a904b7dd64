"""Strategies made from the options that name them."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from strategies.base import Strategy
from strategies.models.tracker import Tracker
from strategies.streams.base import StreamStrategy


def make_stream_strategy(options: dict[str, Any], model: Tracker) -> StreamStrategy:
    """Make a strategy for streams as `make_strategy` makes one of the others."""
    strategy: StreamStrategy = _made(options, model)
    return strategy


def make_strategy(options: dict[str, Any], model: Tracker) -> Strategy:
    """Make the strategy that the options name; what its constructor raises comes through as it was raised."""
    strategy: Strategy = _made(options, model)
    return strategy


def _made(options: dict[str, Any], model: Tracker) -> Any:
    try:
        return instantiate(options, model=model)
    except InstantiationException as error:
        raise error.__cause__ or error from None
