"""The oracle: the strategy whose masks are right by definition, with which those of all others are compared."""

from __future__ import annotations

from strategies.base import Strategy
from strategies.sequential import Sequential

Oracle: type[Strategy] = Sequential
"""See DESIGN section 1."""
