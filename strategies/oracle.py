"""The oracles: the strategies whose masks are right by definition, with which those of all others are compared."""

from __future__ import annotations

from strategies.base import Strategy
from strategies.sequential import Sequential
from strategies.streams.base import StreamStrategy
from strategies.streams.session import StreamSession

Oracle: type[Strategy] = Sequential
"""See DESIGN section 1."""
StreamOracle: type[StreamStrategy] = StreamSession
"""The same for streams."""
