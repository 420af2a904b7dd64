"""What tests of strategies that run sessions share."""

from __future__ import annotations

from strategies import Predictions, References, Sam2
from tests.support.models import TOLERANCE, Pictures, group, logit_error, score_error


def references_of(
    model: Sam2, pictures: Pictures, *, frames: int = 2, objects: int = 2, absent: tuple[int, int] = (1, 0)
) -> References:
    """absent: a (reference, object) whose mask is empty."""
    present = [[(frame, each) != absent for each in range(objects)] for frame in range(frames)]
    return group(model, pictures, frames=range(frames), present=present, object_ids=(7, 3, 250)[:objects], seed=frames)


def assert_other_masks(actual: Predictions, expected: Predictions) -> None:
    """Different for every target, by more than an exact strategy may."""
    for index in range(len(expected)):
        one, other = (each[index : index + 1] for each in (actual, expected))
        assert max(logit_error(one, other), score_error(one, other)) > 3 * TOLERANCE, f"target {index}"
