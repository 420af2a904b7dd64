"""How several actors share a job: who gets which chunk, and what becomes of the chunks of one that dies.

Batches are as they are, whoever has them; what is dealt out is stretches of them. An actor stays with its group until
none of it is left, then takes a group that nobody has, and only then helps with another's; so it builds a group's
memory bank once.
"""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence

from harness.job.actor import Order, Report
from harness.job.engine import Engine, Lost
from harness.pipeline.meter import Meter
from harness.pipeline.pipeline import AHEAD, OnBroken, OnLabelled
from harness.pipeline.plan import Chunk
from strategies.errors import UserError

LONGEST = 16
"""Batches of the longest chunk; towards the end chunks become shorter, so that nobody is left with a long one."""
IN_HAND = 2 * (2 * AHEAD + 1)
"""Batches that an actor has in hand, before it gets no more: twice what is in its pipeline."""
LIVES = 3
"""How often each actor may be lost, in the mean, while nothing at all is done in between."""


class Backlog:
    """The batches that no actor has."""

    def __init__(self, chunks: Iterable[Chunk]) -> None:
        self._left: dict[str, deque[Chunk]] = {}
        self._begun: set[str] = set()
        self.batches = 0
        for chunk in chunks:
            self.put(chunk)

    def put(self, chunk: Chunk) -> None:
        """Add a chunk, which comes after all others of its group."""
        self._left.setdefault(chunk.work.group.name, deque()).extend(chunk.cut(LONGEST))
        self.batches += len(chunk.batches)

    def take(self, group: str, *, at_most: int) -> Chunk:
        """Return a chunk for an actor that is at a group; there must be one."""
        name = self._chosen(group)
        self._begun.add(name)
        waiting = self._left[name]
        first, *rest = waiting.popleft().cut(at_most)
        waiting.extendleft(reversed(rest))
        if not waiting:
            del self._left[name]
        self.batches -= len(first.batches)
        return first

    def drop(self, group: str) -> None:
        """Forget a group."""
        self.batches -= sum(len(chunk.batches) for chunk in self._left.pop(group, ()))

    def _chosen(self, group: str) -> str:
        if group in self._left:
            return group
        fresh = next((name for name in self._left if name not in self._begun), None)
        return fresh or max(self._left, key=lambda name: len(self._left[name]))


class _Hand:
    """What an actor was given and has not reported."""

    def __init__(self) -> None:
        self.ready = False
        self.group = ""
        self.chunks: list[Chunk] = []

    @property
    def targets(self) -> int:
        return sum(len(chunk.wanted) for chunk in self.chunks)

    def settle(self, group: str, done: set[str]) -> None:
        left = (chunk.without(done) if chunk.work.group.name == group else chunk for chunk in self.chunks)
        self.chunks = [chunk for chunk in left if chunk is not None]

    def drop(self, group: str) -> None:
        self.chunks = [chunk for chunk in self.chunks if chunk.work.group.name != group]


class Dispatcher:
    """One job, shared by the actors of an engine."""

    def __init__(
        self,
        engine: Engine,
        order: Order,
        meter: Meter,
        *,
        on_ready: Callable[[], None],
        on_labelled: OnLabelled,
        on_broken: OnBroken,
        said: Callable[[str], None],
    ) -> None:
        """on_ready: told once, when the first actor is. said: told of actors that are lost."""
        self._engine = engine
        self._order = order
        self._meter = meter
        self._on_ready = on_ready
        self._on_labelled = on_labelled
        self._on_broken = on_broken
        self._said = said
        self._hands: dict[int, _Hand] = {}
        self._backlog = Backlog(())
        self._broken: set[str] = set()
        self._lost_in_a_row = 0
        self._begun = False

    def run(self, chunks: Sequence[Chunk]) -> None:
        """Have all chunks done.

        Raises UserError for what an actor raised as one, and where actors are lost and nothing is done in between;
        RuntimeError, with its traceback, for what else an actor raised.
        """
        self._backlog = Backlog(chunks)
        pieces = sum(1 if chunk.remembered else len(chunk.batches) for chunk in chunks)
        for number in range(min(self._engine.shares.actors, pieces)):
            self._start(number)
        while self._backlog.batches or any(hand.chunks for hand in self._hands.values()):
            number, found = self._engine.next()
            if isinstance(found, Lost):
                self._replace(number, found)
            else:
                self._enter(number, found)
            self._deal()

    def _start(self, number: int) -> None:
        self._hands[number] = _Hand()
        self._engine.start(number, self._order)

    def _deal(self) -> None:
        enough = IN_HAND * self._order.config.batch
        for number, hand in self._hands.items():
            while hand.ready and self._backlog.batches and hand.targets < enough:
                fair = math.ceil(self._backlog.batches / (2 * self._engine.shares.actors))
                chunk = self._backlog.take(hand.group, at_most=fair)
                hand.group = chunk.work.group.name
                hand.chunks.append(chunk)
                self._engine.give(number, chunk)

    def _enter(self, number: int, report: Report) -> None:
        if report.failure is not None:
            if report.failure.status == "skipped":
                raise UserError(report.failure.reason)
            raise RuntimeError(f"an actor failed: {report.failure.traceback or report.failure.reason}")
        hand = self._hands[number]
        hand.ready = True
        if not self._begun:
            self._begun = True
            self._on_ready()
        self._meter.add(report.busy)
        done: dict[str, set[str]] = defaultdict(set)
        for row in report.rows:
            done[row.group].add(row.target)
        if report.targets:
            self._on_labelled(report.rows, report.targets)
        for group, target, reason in report.broken:
            if target:
                done[group].add(target)
            if target or group not in self._broken:
                self._on_broken(group, target, reason)
            if not target:
                self._forget(group)
        for group, names in done.items():
            self._lost_in_a_row = 0
            hand.settle(group, names)

    def _forget(self, group: str) -> None:
        """Let nobody go on with a group whose references can't be read."""
        self._broken.add(group)
        self._backlog.drop(group)
        for hand in self._hands.values():
            hand.drop(group)

    def _replace(self, number: int, lost: Lost) -> None:
        chunks = self._hands.pop(number).chunks
        for chunk in chunks:
            self._backlog.put(chunk)
        self._lost_in_a_row += 1
        if self._lost_in_a_row >= LIVES * self._engine.shares.actors:
            at = f" at group {chunks[0].work.group.name}" if chunks else ""
            raise UserError(
                f"{lost.reason}, and {self._lost_in_a_row} in all{at} with nothing done in between: give fewer actors= "
                "or a smaller batch="
            )
        targets = sum(len(chunk.wanted) for chunk in chunks)
        self._said(f"{lost.reason}: the {targets} targets that it had in hand go to others")
        if self._backlog.batches:
            self._start(number)
