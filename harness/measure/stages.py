"""The time of a prediction by stage: a batch is watched stage by stage, outside the timed blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor

from harness.measure.timing import Clock, timed_repeats
from harness.options.config import TimingConfig
from strategies.base import Strategy
from strategies.components.stages import watched
from strategies.vocabulary import VisionFeatures


@dataclass(frozen=True, kw_only=True)
class StageTimes:
    """The times that a batch took, in seconds.

    targets: how many the batch has. predict: the time of each prediction of it. calls: by stage, the time of every call
    within all those predictions; a strategy that is static, or computes in other threads, has none. encode: the time of
    each encoding of a single frame.
    """

    targets: int
    predict: list[float] = field(repr=False)
    calls: dict[str, list[float]] = field(repr=False)
    encode: list[float] = field(repr=False)


def time_stages(
    candidate: Strategy, batch: VisionFeatures, pixels: Tensor, *, clock: Clock, options: TimingConfig
) -> StageTimes:
    """Time the stages of a strategy that has predicted such a batch before. pixels: those of a frame, ``[1, 3, S, S]``.

    The clock waits for the device at both ends of every stage, so stages do not overlap, as they may in timed blocks.
    """
    calls: dict[str, list[float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        start = clock()
        yield
        calls.setdefault(name, []).append(clock() - start)

    encode_one = partial(candidate.model.encode_pixels, pixels)
    encode_one()  # The first call warms up.
    encode = timed_repeats(encode_one, clock=clock, options=options)
    # Watching changes the network's modules, for which compiled code would be compiled again.
    with nullcontext() if candidate.static else watched(candidate.model, timed):
        predict = timed_repeats(partial(candidate.predict, batch), clock=clock, options=options)
    return StageTimes(targets=len(batch), predict=predict, calls=calls, encode=encode)
