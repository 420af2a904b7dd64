"""The ladder: how equal the strategies are, from the strictest rung to the loosest. Read it from top to bottom.

1. Bit-exact, where the same kernels run on the same shapes, in as many threads.
2. fp32: within the limits above the noise floor that `harness.masks.noise` measures on the network of these tests.
3. Reduced precision: within limits measured in the same way, in bf16 and fp16.
4. Down: mistakes that fall off.

Every rung is climbed over the axes of the task: batch 1 to 33, objects 1 to 9, references 1 to 17 and more of them than
`max_cond_frame_num`, objects absent from some references or from all, gates closed, pictures of any and mixed sizes,
targets in any order, one target, a last batch that is not full. For the fused kernels the same is in test_triton.py.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, note, settings
from hypothesis import strategies as st

from harness.masks.agreement import AgreementMeter
from harness.masks.noise import Sample, measure_noise
from harness.masks.rule import Agreement, Limits, disagreement
from harness.measure.judge import suspects
from strategies import (
    Direct,
    ExtendedSession,
    MultiSession,
    Predictions,
    Rebuild,
    References,
    Sam2,
    Sequential,
    Strategy,
    VisionFeatures,
)
from strategies.cpu_features import usable_on_cpu
from strategies.direct import BANKS
from strategies.extended_session import POSITIONS, Positions
from strategies.models.precision import DTYPES
from tests.support.models import (
    MOST_REFERENCES,
    MOST_TARGETS,
    TOKENS,
    Pictures,
    copied,
    draw_pictures,
    every_family,
    group,
    lively_model,
    masks_of,
    of_whole_memories,
    other_families,
    pick,
    spatial_memories,
)

pytestmark = pytest.mark.slow

CHUNKS = (1, 3 * TOKENS, 7 * TOKENS, 65_536)
"""One pair at once; fewer pairs than objects; a few targets; everything."""


# --- what is climbed -----------------------------------------------------------------------------------------------


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
    targets=(5, 1),
    batch=9,
    chunk_tokens=2 * TOKENS,
    seed=12,
)
ABSENT_FROM_EVERYWHERE = Case(
    present=((False, False, True), (False, False, True)), object_ids=(1, 2, 3), targets=(5, 1, 0), batch=3
)
NO_MASK_AT_ALL = Case(present=((False, False),) * 2, object_ids=(2, 1), targets=(0, 4, 7), batch=2)
EVERYTHING_AT_ONCE = Case(
    present=all_present(4, 5),
    object_ids=(7, 3, 250, 1, 100),
    targets=tuple(range(MOST_TARGETS)),
    batch=MOST_TARGETS,
    seed=13,
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
    targets=(0, 1),
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


@every_family
def test_the_network_to_climb_with_is_lively(model: Sam2, pictures: Pictures) -> None:
    """On one that is not, every shortcut would look exact."""
    predictions = expected_of(EVERYTHING_AT_ONCE, model, pictures)
    opened = predictions.object_scores > 0
    assert 0.2 < opened.float().mean() < 0.9
    assert predictions.picks.flatten().bincount(minlength=3).min() >= 3
    positive = (predictions.logits[opened] > 0).float().mean()
    assert 0.1 < positive < 0.9
    assert predictions.logits[opened].abs().max() > 1
    assert (predictions.logits[~opened] == -1024).all()
    only_by_memory = predictions.object_scores.std(dim=1).mean()  # of one target, from object to object
    assert only_by_memory > 0.5 * predictions.object_scores.std()


# --- rung 1: the same bits -----------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("make", SESSIONS.values(), ids=list(SESSIONS))
@settings(deadline=None, derandomize=True, max_examples=4)
@given(case=cases(objects=3), count=st.integers(1, 5))
@example(case=ABSENT_FROM_ALL_BUT_ONE, count=3)
@example(case=ABSENT_FROM_THE_FIRST, count=4)
@example(case=EVERYTHING_AT_ONCE, count=4)
@example(case=NO_MASK_AT_ALL, count=2)
@example(case=ONE_TARGET_LEFT_OVER, count=4)
def test_many_sessions_or_slots_give_the_bits_of_sequential(
    model: Sam2, pictures: Pictures, limits: Limits, make: Callable[[Sam2, int], Strategy], case: Case, count: int
) -> None:
    strategy, expected = make(model, count), expected_of(case, model, pictures)
    assert_same_bits_on_as_many_cores(strategy, case.masks(strategy, pictures), expected, limits)


def test_the_same_threads_are_needed_for_the_same_bits(model: Sam2, pictures: Pictures, limits: Limits) -> None:
    """Sums are split among threads, so another number of them is float noise, and so are sessions that share them."""
    case = replace(ONE_TARGET_IN_A_LARGE_BATCH, targets=(2, 6))
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    of_one_thread = case.masks(Sequential(model), pictures)
    torch.set_num_threads(2)
    try:
        expected, alone, slots, pairs = (
            case.masks(strategy, pictures)
            for strategy in (
                Sequential(model),
                MultiSession(model, sessions=1),
                ExtendedSession(model),
                MultiSession(model, sessions=2),
            )
        )
    finally:
        torch.set_num_threads(before)
    assert_same_bits(alone, expected)
    assert_same_bits(slots, expected)
    assert_within(limits, pairs, expected)
    assert_within(limits, of_one_thread, expected)


@settings(deadline=None, derandomize=True, max_examples=3)
@given(case=cases(references=(1, 3), objects=3, targets=2))
@example(case=ABSENT_FROM_ALL_BUT_ONE)
@example(case=NO_MASK_AT_ALL)
def test_rebuild_gives_the_bits_of_sequential(model: Sam2, pictures: Pictures, case: Case) -> None:
    """The references that `sequential` sees are encoded in a batch of the same size."""
    references = case.references(model, pictures)
    assert references.pixels is not None
    references = replace(references, features=model.encode_pixels(references.pixels))
    targets = pick(pictures.targets, case.targets)
    rebuilt, expected = (masks_of(make(model), references, targets) for make in (Rebuild, Sequential))
    assert_same_bits(rebuilt, expected)


ANY_ORDER: dict[str, Callable[[Sam2], Strategy]] = {
    "sequential": Sequential,
    "multi_session": MultiSession,
    "extended_session": ExtendedSession,
    "direct, a pair at once": lambda model: Direct(model, chunk_tokens=1),
}

IN_ORDER = replace(EVERYTHING_AT_ONCE, present=all_present(2, 2), object_ids=(1, 2))


@functools.cache
def masks_in_order(make: Callable[[Sam2], Strategy], model: Sam2, pictures: Pictures) -> Predictions:
    return IN_ORDER.masks(make(model), pictures)


@pytest.mark.parametrize("make", ANY_ORDER.values(), ids=list(ANY_ORDER))
@settings(deadline=None, derandomize=True, max_examples=2)
@given(order=st.permutations(range(MOST_TARGETS)), batch=st.integers(1, MOST_TARGETS))
def test_targets_in_another_order_and_batch_get_the_same_bits(
    model: Sam2,
    pictures: Pictures,
    limits: Limits,
    make: Callable[[Sam2], Strategy],
    order: list[int],
    batch: int,
) -> None:
    shuffled = replace(IN_ORDER, targets=tuple(order), batch=batch)
    strategy, expected = make(model), permuted(masks_in_order(make, model, pictures), order)
    assert_same_bits_on_as_many_cores(strategy, shuffled.masks(strategy, pictures), expected, limits)


@every_family
@pytest.mark.parametrize("bank", BANKS)
def test_direct_gives_the_same_bits_twice(model: Sam2, pictures: Pictures, bank: str) -> None:
    first, second = (ABSENT_FROM_THE_FIRST.masks(Direct(model, bank=bank), pictures) for _ in range(2))
    assert_same_bits(first, second)


# --- rung 2: fp32, within the noise floor --------------------------------------------------------------------------


def limits_of(model: Sam2, pictures: Pictures, cases: Iterable[Case]) -> Limits:
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


@pytest.fixture(scope="module")
def limits(model: Sam2, pictures: Pictures) -> Limits:
    return limits_of(model, pictures, FLOOR_CASES)


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


def test_the_limits_are_narrow_in_fp32(limits: Limits) -> None:
    """What they were when their factors were chosen, within a factor of three or so."""
    logits = limits.differences.logits
    assert 3e-7 < logits.median < 1e-5
    assert logits.median <= logits.high <= logits.object < 3e-4
    assert logits.largest < 0.05
    assert limits.ties.logits.largest < 0.1


@settings(deadline=None, derandomize=True, max_examples=5)
@given(case=cases())
@example(case=ABSENT_FROM_ALL_BUT_ONE)
@example(case=ABSENT_FROM_THE_FIRST)
@example(case=EVERYTHING_AT_ONCE)
def test_direct_is_within_the_noise_of_sequential(model: Sam2, pictures: Pictures, limits: Limits, case: Case) -> None:
    expected = expected_of(case, model, pictures)
    for bank in BANKS:
        note(f"bank={bank}")
        assert_within(limits, case.masks(Direct(model, bank=bank, chunk_tokens=case.chunk_tokens), pictures), expected)


@every_extreme
def test_direct_is_within_the_noise_of_sequential_at_the_extremes(
    model: Sam2, pictures: Pictures, limits: Limits, case: Case
) -> None:
    expected = expected_of(case, model, pictures)
    for bank in BANKS:
        assert_within(limits, case.masks(Direct(model, bank=bank, chunk_tokens=case.chunk_tokens), pictures), expected)


@pytest.mark.parametrize("frames", [2, 3, 4, 10])
def test_with_more_references_than_a_session_conditions_on(
    model: Sam2, pictures: Pictures, limits: Limits, frames: int
) -> None:
    closest_two = copied(model)
    closest_two.network.config.max_cond_frame_num = 2
    case = Case(present=all_present(frames, 2), object_ids=(1, 2), targets=(0, 1), batch=2, seed=frames)
    expected = expected_of(case, closest_two, pictures)
    for bank in BANKS:
        assert_within(limits, case.masks(Direct(closest_two, bank=bank), pictures), expected)
    assert_same_bits(case.masks(ExtendedSession(closest_two), pictures), expected)
    if frames > 2:
        assert_outside(limits, case.masks(Direct(model), pictures), expected)  # the option matters here


@every_family
def test_where_all_gates_are_closed(model: Sam2, pictures: Pictures, limits: Limits) -> None:
    closed = copied(model)
    closed.network.mask_decoder.pred_obj_score_head.proj_out.bias.sub_(10)
    expected = expected_of(EVERYTHING_AT_ONCE, closed, pictures)
    assert (expected.logits == -1024).all()
    for bank in BANKS:
        masks = EVERYTHING_AT_ONCE.masks(Direct(closed, bank=bank), pictures)
        assert torch.equal(masks.logits, expected.logits)
        assert_within(limits, masks, expected)
    assert_outside(limits, EVERYTHING_AT_ONCE.masks(Direct(model), pictures), expected)


@every_family
def test_pictures_of_mixed_sizes_and_shapes(model: Sam2, limits: Limits) -> None:
    generator = np.random.default_rng(7)
    sizes = [(48, 96), (200, 130), (128, 128), (31, 77), (64, 300)]
    images = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    labels = [np.zeros(size, dtype=np.uint8) for size in sizes[:2]]
    labels[0][10:40, 20:70], labels[1][30:150, 20:60], labels[1][50:120, 70:120] = 1, 1, 5
    references, targets = model.references(images[:2], labels), model.encode(images[2:])
    expected = masks_of(Sequential(model), references, targets)
    assert references.object_ids == (1, 5)
    for bank in BANKS:
        assert_within(limits, masks_of(Direct(model, bank=bank), references, targets, batch=3), expected)
    swapped = replace(references, masks=references.masks.flip(1))
    assert_outside(limits, masks_of(Direct(model), swapped, targets, batch=3), expected)


@of_whole_memories
@settings(deadline=None, derandomize=True, max_examples=5)
@given(case=cases())
@example(case=ABSENT_FROM_ALL_BUT_ONE)
@example(case=NO_MASK_AT_ALL)
def test_the_memory_bank_holds_the_bits_that_a_session_stores(model: Sam2, pictures: Pictures, case: Case) -> None:
    """In other batches than a session's, some of 8,192 values always are rounded to another neighbour (trap 7)."""
    assert torch.equal(*spatial_memories(model, case.references(model, pictures)))


# --- other families ------------------------------------------------------------------------------------------------

COVERING = {
    "one reference": replace(EVERYTHING_AT_ONCE, present=all_present(1, 5), batch=1),
    "two references": ABSENT_FROM_THE_FIRST,
    "four references": replace(EVERYTHING_AT_ONCE, batch=8),
    "six references": Case(
        present=tuple((frame % 3 != 1, frame % 4 != 0) for frame in range(6)),
        object_ids=(1, 2),
        targets=(0, 1, 7),
        batch=3,
    ),
    "more references than pointers": MORE_REFERENCES_THAN_POINTERS,
    "no mask at all": NO_MASK_AT_ALL,
}
"""Of each axis its ends, and references around the four that SAM3's tracker conditions on."""
every_covering_case = pytest.mark.parametrize("case", COVERING.values(), ids=list(COVERING))


@other_families
@every_covering_case
def test_direct_is_within_the_noise_of_sequential_for_every_family(
    model: Sam2, pictures: Pictures, limits: Limits, case: Case
) -> None:
    expected = expected_of(case, model, pictures)
    for bank in BANKS:
        direct = Direct(model, bank=bank, chunk_tokens=case.chunk_tokens)
        assert_within(limits, case.masks(direct, pictures), expected)


@other_families
@every_covering_case
def test_sessions_of_every_family_give_the_bits_of_sequential(
    model: Sam2, pictures: Pictures, limits: Limits, case: Case
) -> None:
    expected = expected_of(case, model, pictures)
    for make in SESSIONS.values():
        strategy = make(model, 3)
        assert_same_bits_on_as_many_cores(strategy, case.masks(strategy, pictures), expected, limits)


@other_families
def test_rebuild_of_every_family_gives_the_bits_of_sequential(model: Sam2, pictures: Pictures) -> None:
    references = ABSENT_FROM_THE_FIRST.references(model, pictures)
    assert references.pixels is not None
    references = replace(references, features=model.encode_pixels(references.pixels))
    targets = pictures.targets[:2]
    rebuilt, expected = (masks_of(make(model), references, targets) for make in (Rebuild, Sequential))
    assert_same_bits(rebuilt, expected)


# --- SAM2 before 2.1 -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Before21:
    """A network whose pointers know no time and whose memory has no embedding of absence, and its limits."""

    model: Sam2
    pictures: Pictures
    limits: Limits


@pytest.fixture(scope="module")
def sam2() -> Before21:
    model = lively_model(version="sam2")
    pictures = draw_pictures(model)
    return Before21(model=model, pictures=pictures, limits=limits_of(model, pictures, FEWER_PAIRS))


every_group_of_sam2 = pytest.mark.parametrize(
    "case",
    [EVERYTHING_AT_ONCE, ABSENT_FROM_ALL_BUT_ONE, MORE_REFERENCES_THAN_POINTERS],
    ids=["everything at once", "absent from all but one", "more references than pointers"],
)


@every_group_of_sam2
def test_direct_is_within_the_noise_of_sequential_for_sam2(sam2: Before21, model: Sam2, case: Case) -> None:
    expected = expected_of(case, sam2.model, sam2.pictures)
    for bank in BANKS:
        direct = Direct(sam2.model, bank=bank, chunk_tokens=case.chunk_tokens)
        assert direct.exact
        assert_within(sam2.limits, case.masks(direct, sam2.pictures), expected)
    assert_outside(sam2.limits, case.masks(Direct(model), sam2.pictures), expected)


@every_group_of_sam2
@pytest.mark.parametrize("positions", POSITIONS)
def test_slots_give_the_bits_of_sequential_wherever_sam2_sees_the_references(
    sam2: Before21, case: Case, positions: Positions
) -> None:
    slots = ExtendedSession(sam2.model, positions=positions)
    assert slots.exact
    assert_same_bits(case.masks(slots, sam2.pictures), expected_of(case, sam2.model, sam2.pictures))


# --- rung 3: reduced precision -------------------------------------------------------------------------------------

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


@pytest.fixture(params=REDUCED)
def reduced(request: pytest.FixtureRequest, model: Sam2) -> Reduced:
    """Made once for each dtype: pytest would make it anew wherever the next test has the other one."""
    if not usable(request.param):
        pytest.skip("kills the process on this CPU: run by the last test of this rung, without AMX")
    return reduced_to(request.param, model)


SMALL = {"absent from the first": ABSENT_FROM_THE_FIRST, "no mask": NO_MASK_AT_ALL}
"""All that fp16 climbs with, which CPUs compute many times slower than bf16."""
LARGE = {
    "everything at once": EVERYTHING_AT_ONCE,
    "a batch of 33": A_FULL_BATCH_OF_33,
    "more references than pointers": MORE_REFERENCES_THAN_POINTERS,
}


@pytest.mark.parametrize(
    ("reduced", "case"),
    [
        *(pytest.param("bf16", case, id=f"bf16-{name}") for name, case in (SMALL | LARGE).items()),
        *(pytest.param("fp16", case, id=f"fp16-{name}") for name, case in SMALL.items()),
    ],
    indirect=["reduced"],
)
def test_in_reduced_precision_masks_agree(reduced: Reduced, case: Case) -> None:
    expected = expected_of(case, reduced.model, reduced.pictures)
    for bank in BANKS:
        masks = case.masks(Direct(reduced.model, bank=bank, chunk_tokens=case.chunk_tokens), reduced.pictures)
        found = agreement(masks, expected, excused=reduced.limits)
        assert disagreement(found, reduced.limits) is None


def test_in_reduced_precision_sessions_give_the_bits_of_sequential(reduced: Reduced) -> None:
    case = ABSENT_FROM_THE_FIRST
    expected = expected_of(case, reduced.model, reduced.pictures)
    for make in SESSIONS.values():
        strategy = make(reduced.model, len(case.targets))
        masks = case.masks(strategy, reduced.pictures)
        assert_same_bits_on_as_many_cores(strategy, masks, expected, reduced.limits)


@pytest.mark.processes
@pytest.mark.skipif(all(map(usable, REDUCED)), reason="they ran in this process")
def test_reduced_precision_without_instructions_that_kill_the_process() -> None:
    here = Path(__file__)
    chosen = " or ".join(dtype for dtype in REDUCED if not usable(dtype))
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", chosen, here],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
        cwd=here.parents[1],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "passed" in ended.stdout
    assert "skipped" not in ended.stdout


# --- down: mistakes fall off ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("references", [1, 3])
def test_memory_that_is_not_rounded_falls_off(
    model: Sam2, pictures: Pictures, limits: Limits, monkeypatch: pytest.MonkeyPatch, references: int
) -> None:
    case = replace(EVERYTHING_AT_ONCE, present=all_present(references, 5))
    expected = expected_of(case, model, pictures)
    assert_within(limits, case.masks(Direct(model), pictures), expected)
    monkeypatch.setattr(Sam2, "spatial_memory", unrounded_memory)
    assert_outside(limits, case.masks(Direct(model), pictures), expected)


def unrounded_memory(model: Sam2, embedding: torch.Tensor, mask: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    """Return `Sam2.spatial_memory` of objects that are visible, without its rounding to bf16."""
    assert visible.all()
    features, _ = model.network.memory_encoder(embedding, mask * 20.0 - 10.0)
    return features.flatten(2).transpose(1, 2)


@every_family
def test_positions_of_pointers_that_are_not_pinned_fall_off(model: Sam2, pictures: Pictures, limits: Limits) -> None:
    case = replace(EVERYTHING_AT_ONCE, present=all_present(2, 3), object_ids=(1, 2, 3))
    raw = case.masks(ExtendedSession(model, positions="raw"), pictures)
    assert_outside(limits, raw, expected_of(case, model, pictures))


class TwoBanksSwapped(Direct):
    def _prepare(self, references: References) -> None:
        order = [1, 0, *range(2, len(references.object_ids))]
        super()._prepare(replace(references, masks=references.masks[:, order]))


class LastTargetForgotten(Direct):
    def _predict(self, targets: VisionFeatures) -> Predictions:
        last = len(targets) - 1
        return super()._predict(pick(targets, [*range(last), max(0, last - 1)]))


class FirstAnswerKept(Direct):
    def _predict(self, targets: VisionFeatures) -> Predictions:
        self.kept = getattr(self, "kept", None) or super()._predict(targets)
        return self.kept


MISTAKES = (TwoBanksSwapped, LastTargetForgotten, FirstAnswerKept)
IN_BATCHES_OF_TWO = replace(ABSENT_FROM_THE_FIRST, targets=(5, 1, 0, 4), batch=2)


@every_family
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_falls_off(model: Sam2, pictures: Pictures, limits: Limits, mistake: type[Direct]) -> None:
    expected = expected_of(IN_BATCHES_OF_TWO, model, pictures)
    assert_outside(limits, IN_BATCHES_OF_TWO.masks(mistake(model), pictures), expected)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_falls_off_in_reduced_precision(reduced: Reduced, mistake: type[Direct]) -> None:
    expected = expected_of(IN_BATCHES_OF_TWO, reduced.model, reduced.pictures)
    assert_outside(reduced.limits, IN_BATCHES_OF_TWO.masks(mistake(reduced.model), reduced.pictures), expected)
