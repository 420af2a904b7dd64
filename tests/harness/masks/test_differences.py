"""Quantiles over pairs, which no single pair of many decides but the largest."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.masks.differences import ObjectDifferences, differences_of
from harness.masks.rule import HIGH, Distances

NUMBERS = st.lists(st.floats(min_value=0, allow_nan=False), min_size=1, max_size=60)


def distances_of(*objects: list[float]) -> Distances:
    made = [
        ObjectDifferences(logits=np.array(one), scores=np.array(one), predicted_ious=np.array(one), least_mask_iou=1)
        for one in objects
    ]
    return differences_of(made).logits


@given(NUMBERS)
def test_each_is_one_of_the_values_and_they_are_in_order(values: list[float]) -> None:
    found = distances_of(values)
    assert {found.median, found.high, found.largest, found.object} <= set(values)
    assert found.largest == max(values)
    assert found.median <= found.high <= found.largest
    assert found.object == found.median


@given(NUMBERS)
def test_no_single_pair_raises_the_high_one_above_the_others(values: list[float]) -> None:
    assert distances_of([*values, math.inf]).high <= max(values)


@given(NUMBERS.filter(lambda values: len(values) < 18))
def test_two_of_fewer_than_twenty_do(values: list[float]) -> None:
    assert distances_of([*values, math.inf, math.inf]).high == math.inf


@given(NUMBERS.filter(lambda values: len(values) >= 20))
def test_of_twenty_and_more_it_is_the_quantile(values: list[float]) -> None:
    assert distances_of(values).high == np.quantile(values, HIGH, method="inverted_cdf")


def test_the_objects_is_the_largest_median_of_one_object() -> None:
    assert distances_of([1.0, 2.0, 9.0], [3.0, 4.0, 5.0]).object == 4


@pytest.mark.parametrize("objects", [[], [[]], [[], []]])
def test_where_nothing_is_compared_all_are_zero(objects: list[list[float]]) -> None:
    assert distances_of(*objects) == Distances(median=0.0, high=0.0, largest=0.0, object=0.0)
