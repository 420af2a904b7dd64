"""Who gets which batches of a job that several actors share, and what becomes of those of an actor that is lost."""

from __future__ import annotations

from collections import defaultdict, deque
from itertools import groupby
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.group import Frame, Group
from harness.isolate.failures import failure_of
from harness.job.actor import Order, Report
from harness.job.dispatch import IN_HAND, LIVES, LONGEST, Dispatcher
from harness.job.engine import Lost, Machine, Shares, shares_of
from harness.options.config import LabelConfig
from harness.pipeline.cores import Cores
from harness.pipeline.ledger import Labelled
from harness.pipeline.meter import Meter
from harness.pipeline.plan import Chunk, Work, work_of
from strategies.errors import UserError
from tests.support.harness_runs import point

BATCH = 3


def group(name: str, targets: int) -> Group:
    def image() -> np.ndarray:
        return np.zeros((8, 8, 3), dtype=np.uint8)

    frames = tuple(Frame(name=f"{number}", image=image) for number in range(targets))
    return Group(name=name, object_ids=(1,), references=frames[:1], targets=frames)


def chunks_of(sizes: list[int], *, remembered: bool = False) -> list[Chunk]:
    plan = work_of([group(f"group{at}", size) for at, size in enumerate(sizes)], None, Path("out"))
    return [Chunk.of(work, batch=BATCH, remembered=remembered) for work in plan]


def row(work: Work, target: Frame) -> Labelled:
    """What an actor tells of a target, as far as it matters here."""
    values = dict.fromkeys(Labelled.__dataclass_fields__, 0)
    return Labelled(**values | {"group": work.group.name, "target": target.name})  # type: ignore[arg-type]


class FakeEngine:
    """Actors that report what they are given, a batch at a time and in any order, and die when they are told to."""

    def __init__(self, actors: int, *, seed: int = 0, deaths: float = 0, most_deaths: int = 0) -> None:
        """deaths: the chance that an actor dies instead of reporting, at most so many times in all."""
        self.shares = Shares(actors=actors, cores=1)
        self._random, self._deaths, self._most = Random(seed), deaths, most_deaths
        self._left: dict[int, deque[tuple[Chunk, tuple[Frame, ...]] | None]] = {}
        self.groups: dict[int, list[str]] = defaultdict(list)
        self.begun: list[int] = []
        self.longest = self.most_in_hand = 0
        self.unreadable: set[str] = set()

    def start(self, number: int, order: Order) -> None:
        assert number not in self._left
        self.begun.append(number)
        self._left[number] = deque([None])

    def give(self, number: int, chunk: Chunk) -> None:
        self._left[number] += [(chunk, batch) for batch in chunk.batches]
        self.groups[number].append(chunk.work.group.name)
        self.longest = max(self.longest, len(chunk.batches))
        self.most_in_hand = max(self.most_in_hand, sum(len(item[1]) for item in self._left[number] if item))

    def next(self) -> tuple[int, Report | Lost]:
        number = self._random.choice([number for number, left in self._left.items() if left])
        if self._most and self._random.random() < self._deaths:
            self._most -= 1
            del self._left[number]
            return number, Lost(reason="the worker was killed")
        item = self._left[number].popleft()
        if item is None:
            return number, Report()
        chunk, batch = item
        if chunk.work.group.name in self.unreadable:
            left = self._left[number]
            self._left[number] = deque(one for one in left if one and one[0].work.group.name != chunk.work.group.name)
            return number, Report(broken=((chunk.work.group.name, "", "no reference"),))
        rows = [row(chunk.work, target) for target in batch if target.name in chunk.wanted]
        return number, Report(rows=rows, targets=len(rows), busy={"read": 1.0})

    def close(self) -> None:
        self._left.clear()


class Told:
    """What a job is told by its actors."""

    def __init__(self) -> None:
        self.ready = 0
        self.labelled: list[tuple[str, str]] = []
        self.broken: list[tuple[str, str, str]] = []
        self.said: list[str] = []

    def run(self, engine: FakeEngine, chunks: list[Chunk]) -> None:
        Dispatcher(
            engine,
            Order(config=point(batch=BATCH).config, cores=Cores(threads=1, workers=1), folder=Path()),
            Meter(workers=1),
            on_ready=self._be_ready,
            on_labelled=lambda rows, _: self.labelled.extend((row.group, row.target) for row in rows),
            on_broken=lambda *broken: self.broken.append(broken),
            said=self.said.append,
        ).run(chunks)

    def _be_ready(self) -> None:
        self.ready += 1


jobs = st.lists(st.integers(1, 120), min_size=1, max_size=6)


@given(sizes=jobs, actors=st.integers(1, 5), seed=st.integers(0, 1000), remembered=st.booleans())
def test_every_target_is_labelled_once_and_an_actor_returns_to_no_group(
    sizes: list[int], actors: int, seed: int, remembered: bool
) -> None:
    engine, told = FakeEngine(actors, seed=seed), Told()
    chunks = chunks_of(sizes, remembered=remembered)
    told.run(engine, chunks)
    assert sorted(told.labelled) == sorted((one.work.group.name, name) for one in chunks for name in one.wanted)
    assert told.ready == 1
    for given_to in engine.groups.values():
        stays = [name for name, _ in groupby(given_to)]
        assert len(stays) == len(set(stays))
    if remembered:
        assert sum(map(len, engine.groups.values())) == len(sizes), "a group was cut"
    else:
        assert engine.longest <= LONGEST
        assert engine.most_in_hand < (IN_HAND + LONGEST) * BATCH


@given(sizes=jobs, actors=st.integers(1, 4), seed=st.integers(0, 1000), remembered=st.booleans())
def test_actors_that_are_lost_lose_nothing(sizes: list[int], actors: int, seed: int, remembered: bool) -> None:
    engine, told = FakeEngine(actors, seed=seed, deaths=0.2, most_deaths=2 * actors), Told()
    chunks = chunks_of(sizes, remembered=remembered)
    told.run(engine, chunks)
    assert set(told.labelled) == {(one.work.group.name, name) for one in chunks for name in one.wanted}
    assert len(told.labelled) == len(set(told.labelled)), "what an actor had reported was made again"


def test_work_is_spread_over_all_actors() -> None:
    engine, told = FakeEngine(4), Told()
    told.run(engine, chunks_of([1200]))
    given_to = [sum(1 for _ in names) for names in engine.groups.values()]
    assert len(given_to) == 4
    assert max(given_to) <= 2 * min(given_to)


def test_no_more_actors_begin_than_there_is_work_for() -> None:
    engine, told = FakeEngine(8), Told()
    told.run(engine, chunks_of([BATCH, BATCH]))
    assert sorted(engine.begun) == [0, 1]


def test_a_job_that_only_kills_its_actors_ends() -> None:
    engine, told = FakeEngine(2, deaths=1, most_deaths=10**6), Told()
    with pytest.raises(UserError, match="the worker was killed, and 6 in all with nothing done in between"):
        told.run(engine, chunks_of([40]))
    assert len(engine.begun) == LIVES * 2 + 1


def test_a_group_whose_references_can_not_be_read_is_told_once_and_stops_alone() -> None:
    engine, told = FakeEngine(3), Told()
    engine.unreadable = {"group1"}
    told.run(engine, chunks_of([30, 300, 30]))
    assert told.broken == [("group1", "", "no reference")]
    assert {name for name, _ in told.labelled} == {"group0", "group2"}
    assert len(told.labelled) == 60


@pytest.mark.parametrize(
    ("error", "raised"),
    [(UserError("the disk is full"), UserError), (ZeroDivisionError("the third bolt"), RuntimeError)],
)
def test_what_an_actor_raises_ends_the_job(error: Exception, raised: type[Exception]) -> None:
    class Failing(FakeEngine):
        def next(self) -> tuple[int, Report | Lost]:
            return 0, Report(failure=failure_of(error))

    with pytest.raises(raised, match=str(error)):
        Told().run(Failing(2), chunks_of([40]))


# --- how many actors -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "machines", "expected"),
    [
        ({}, [(16, 0)], (1, 16)),
        ({"actors": 2}, [(16, 0)], (2, 8)),
        ({"cores": 4}, [(16, 0)], (4, 4)),
        ({"actors": 2, "cores": 4}, [(16, 0)], (2, 4)),
        ({"actors": 3}, [(2, 0)], (3, 1)),
        ({}, [(16, 4)], (4, 4)),
        ({"actors": 1}, [(16, 4)], (1, 4)),
        ({}, [(16, 0), (16, 0), (8, 0)], (2, 16)),  # a cluster: as many cores as this machine has
        ({"cores": 8}, [(16, 0), (16, 0), (8, 0)], (5, 8)),
        ({}, [(64, 0), (16, 4), (16, 8)], (12, 2)),  # what has no GPU has no actor
    ],
)
def test_there_is_an_actor_for_each_gpu_or_for_so_many_cores(
    options: dict[str, int], machines: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    there = [Machine(cores=cores, gpus=gpus) for cores, gpus in machines]
    shares = shares_of(LabelConfig(**options), there, here=16)  # type: ignore[arg-type]
    assert (shares.actors, shares.cores) == expected
