"""Strategies made from the options that name them."""

from __future__ import annotations

from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate

from strategies.base import Strategy
from strategies.models.tracker import Tracker


def make_strategy(options: dict[str, Any], model: Tracker) -> Strategy:
    """Make the strategy that the options name; what its constructor raises comes through as it was raised."""
    try:
        strategy: Strategy = instantiate(options, model=model)
    except InstantiationException as error:
        raise error.__cause__ or error from None
    return strategy
