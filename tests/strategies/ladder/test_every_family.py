"""Rungs 1 and 2 for other families, and for SAM2 before 2.1."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from harness.masks.rule import Limits
from strategies import Direct, ExtendedSession, Rebuild, Sam2, Sequential
from strategies.direct import BANKS
from strategies.extended_session import POSITIONS, Positions
from tests.support.ladder import (
    ABSENT_FROM_ALL_BUT_ONE,
    ABSENT_FROM_THE_FIRST,
    EVERYTHING_AT_ONCE,
    FEWER_PAIRS,
    MORE_REFERENCES_THAN_POINTERS,
    NO_MASK_AT_ALL,
    SESSIONS,
    Case,
    all_present,
    assert_outside,
    assert_same_bits,
    assert_same_bits_on_as_many_cores,
    assert_within,
    expected_of,
    limits_of,
)
from tests.support.models import Pictures, draw_pictures, lively_model, masks_of, other_families

pytestmark = pytest.mark.slow


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
