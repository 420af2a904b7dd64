"""What the ladder is climbed with and by: groups at the ends of every axis, what is expected of them, and limits."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import strategies as st

from harness.masks.agreement import AgreementMeter
from harness.masks.noise import Sample, measure_noise
from harness.masks.rule import Agreement, Limits, disagreement
from harness.measure.judge import suspects
from strategies import ExtendedSession, MultiSession, Predictions, References, Sam2, Sequential, Strategy
from strategies.cpu_features import usable_on_cpu
from strategies.models.precision import DTYPES
from tests.support.models import MOST_REFERENCES, MOST_TARGETS, TOKENS, Pictures, draw_pictures, group, masks_of, pick

CHUNKS = (1, 3 * TOKENS, 7 * TOKENS, 65_536)
"""One pair at once; fewer pairs than objects; a few targets; everything."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One group and how its targets arrive: present is ``[R][O]``, targets are indices in any order, also twice."""

    present: tuple[tuple[bool, ...], ...]
    object_ids: tuple[int, ...]
    targets: tuple[int, ...]
    batch: int
    chunk_tokens: int = 65_536
    seed: int = 0

    def references(self, model: Sam2, pictures: Pictures) -> References:
        frames = [(self.seed + number) % len(pictures.references) for number in range(len(self.present))]
        return group(model, pictures, frames=frames, present=self.present, object_ids=self.object_ids, seed=self.seed)

    def masks(self, strategy: Strategy, pictures: Pictures) -> Predictions:
        references = self.references(strategy.model, pictures)
        return masks_of(strategy, references, pick(pictures.targets, self.targets), batch=self.batch)


@functools.cache
def expected_of(case: Case, model: Sam2, pictures: Pictures) -> Predictions:
    """What `sequential` predicts, computed once for each target, because several rungs are climbed with a group.

    Its bits depend neither on the batch nor on the order, as the first rung shows.
    """
    once = replace(case, targets=tuple(sorted(set(case.targets))), batch=1, chunk_tokens=1)
    if case == once:
        return case.masks(Sequential(model), pictures)
    return permuted(expected_of(once, model, pictures), [once.targets.index(target) for target in case.targets])


def permuted(predictions: Predictions, order: list[int]) -> Predictions:
    return Predictions(
        logits=predictions.logits[order],
        object_scores=predictions.object_scores[order],
        ious=predictions.ious[order],
        object_ids=predictions.object_ids,
    )


@st.composite
def cases(
    draw: st.DrawFn, *, references: tuple[int, int] = (1, 4), objects: int = 5, targets: int = MOST_TARGETS
) -> Case:
    count = draw(st.integers(1, objects))
    row = st.tuples(*[st.booleans()] * count)
    ids = draw(st.lists(st.integers(1, 254), min_size=count, max_size=count, unique=True))
    chosen = draw(st.lists(st.integers(0, MOST_TARGETS - 1), min_size=1, max_size=targets, unique=True))
    return Case(
        present=tuple(draw(st.lists(row, min_size=references[0], max_size=references[1]))),
        object_ids=tuple(ids),
        targets=tuple(chosen),
        batch=draw(st.integers(1, MOST_TARGETS)),
        chunk_tokens=draw(st.sampled_from(CHUNKS)),
        seed=draw(st.integers(0, 10_000)),
    )


def all_present(references: int, objects: int) -> tuple[tuple[bool, ...], ...]:
    return ((True,) * objects,) * references


def targets_in_a_row(count: int) -> tuple[int, ...]:
    return tuple(index % MOST_TARGETS for index in range(count))


ABSENT_FROM_ALL_BUT_ONE = Case(
    present=((True, True), (False, True), (False, True), (False, True)),
    object_ids=(9, 4),
    targets=(3, 0, 8),
    batch=2,
    chunk_tokens=TOKENS,
    seed=11,
)
ABSENT_FROM_THE_FIRST = Case(
    present=((False, True, True), (True, False, False)),
    object_ids=(1, 2, 3),
    targets=(5, 1, 3),
    batch=9,
    chunk_tokens=2 * TOKENS,
    seed=12,
)
IN_BATCHES_OF_TWO = replace(ABSENT_FROM_THE_FIRST, targets=(5, 1, 0, 4), batch=2)
ABSENT_FROM_EVERYWHERE = Case(
    present=((False, False, True), (False, False, True)), object_ids=(1, 2, 3), targets=(5, 1, 0), batch=3
)
NO_MASK_AT_ALL = Case(present=((False, False),) * 2, object_ids=(2, 1), targets=(0, 4, 7), batch=2)
EVERYTHING_AT_ONCE = Case(
    present=all_present(4, 5), object_ids=(7, 3, 250, 1, 100), targets=(0, 2, 4, 6, 8), batch=MOST_TARGETS, seed=13
)
ONE_OF_EACH = Case(present=((True,),), object_ids=(254,), targets=(6,), batch=1)
ONE_TARGET_IN_A_LARGE_BATCH = Case(present=all_present(1, 2), object_ids=(1, 2), targets=(2,), batch=33)
A_FULL_BATCH_OF_33 = Case(
    present=all_present(1, 2), object_ids=(1, 2), targets=targets_in_a_row(33), batch=33, chunk_tokens=32 * TOKENS
)
ONE_TARGET_LEFT_OVER = Case(present=all_present(2, 1), object_ids=(1,), targets=tuple(range(MOST_TARGETS)), batch=8)
NINE_OBJECTS_AND_16_REFERENCES = Case(
    present=tuple(tuple((frame + each) % 3 > 0 for each in range(9)) for frame in range(16)),
    object_ids=tuple(range(11, 20)),
    targets=(4, 2, 3),
    batch=2,
    chunk_tokens=7 * TOKENS,
    seed=5,
)
MORE_REFERENCES_THAN_POINTERS = Case(
    present=tuple((frame % 3 != 1, frame % 4 != 0) for frame in range(MOST_REFERENCES)),
    object_ids=(1, 2),
    targets=(0, 1, 2, 3),
    batch=2,
    seed=17,
)
EXTREMES = {
    "one of each": ONE_OF_EACH,
    "one target in a large batch": ONE_TARGET_IN_A_LARGE_BATCH,
    "a full batch of 33": A_FULL_BATCH_OF_33,
    "one target left over": ONE_TARGET_LEFT_OVER,
    "nine objects and 16 references": NINE_OBJECTS_AND_16_REFERENCES,
    "more references than pointers": MORE_REFERENCES_THAN_POINTERS,
    "objects absent from everywhere": ABSENT_FROM_EVERYWHERE,
    "no mask at all": NO_MASK_AT_ALL,
}
every_extreme = pytest.mark.parametrize("case", EXTREMES.values(), ids=list(EXTREMES))


# --- how equal masks are ---------------------------------------------------------------------------------------------


def assert_same_bits(actual: Predictions, expected: Predictions) -> None:
    assert actual.object_ids == expected.object_ids
    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.object_scores, expected.object_scores)
    assert torch.equal(actual.ious, expected.ious)


def assert_same_bits_on_as_many_cores(
    strategy: Strategy, actual: Predictions, expected: Predictions, limits: Limits
) -> None:
    """Sessions that share several cores have fewer of them each than one alone, and are within the noise of it."""
    if isinstance(strategy, MultiSession) and strategy.sessions > 1 and torch.get_num_threads() > 1:
        assert_within(limits, actual, expected)
    else:
        assert_same_bits(actual, expected)


SESSIONS: dict[str, Callable[[Sam2, int], Strategy]] = {
    "multi_session": lambda model, count: MultiSession(model, sessions=count),
    "extended_session": lambda model, count: ExtendedSession(model, slots=count),
}


@functools.cache
def limits_of(model: Sam2, pictures: Pictures, cases: tuple[Case, ...]) -> Limits:
    """Above the noise floor of the model, measured as the harness does."""
    samples = []
    for case in cases:
        references = case.references(model, pictures)
        targets = pick(pictures.targets, case.targets)
        samples.append(Sample(references=references, targets=targets, expected=expected_of(case, model, pictures)))
    return Limits.above(measure_noise(model, samples))


FLOOR_CASES = (
    Case(present=all_present(2, 5), object_ids=(1, 2, 3, 4, 5), targets=(0, 2, 4, 6), batch=4),
    Case(present=all_present(1, 3), object_ids=(1, 2, 3), targets=(1, 3, 5, 7), batch=4, seed=3),
)
FEWER_PAIRS = tuple(replace(case, targets=case.targets[:2]) for case in FLOOR_CASES)
"""As many as a floor needs: `harness.masks.noise.PAIRS`."""


def agreement(actual: Predictions, expected: Predictions, *, excused: Limits | None = None) -> Agreement:
    """Compare as the harness does; ``excused`` are the limits by which objects may differ for ties of stored memory."""
    meter = AgreementMeter()
    meter.update("group", expected, actual)
    found = meter.result(excused=[name for _, _, name in suspects(meter, excused)] if excused else ())
    assert found is not None
    return found


def assert_within(limits: Limits, actual: Predictions, expected: Predictions) -> None:
    """Objects are excused that are away by what a tie of stored memory is worth."""
    assert disagreement(agreement(actual, expected, excused=limits), limits) is None


def assert_outside(limits: Limits, actual: Predictions, expected: Predictions) -> None:
    """No object is excused: the harness looks again at each, and sees a mistake again (test_judge.py)."""
    assert disagreement(agreement(actual, expected), limits) is not None


# --- reduced precision -----------------------------------------------------------------------------------------------

REDUCED = ("bf16", "fp16")


def usable(dtype: str) -> bool:
    return usable_on_cpu(DTYPES[dtype])


@dataclass(frozen=True, kw_only=True)
class Reduced:
    """The network computing in another dtype, its pictures, and its limits."""

    model: Sam2
    pictures: Pictures
    limits: Limits


@functools.cache
def reduced_to(dtype: str, model: Sam2) -> Reduced:
    other = Sam2(model.network, name="toy", dtype=dtype)
    pictures = draw_pictures(other)
    return Reduced(model=other, pictures=pictures, limits=limits_of(other, pictures, FEWER_PAIRS))
