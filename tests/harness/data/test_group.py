"""Items that are taken evenly from all there are."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from harness.data.group import evenly


@given(available=st.integers(1, 50), most=st.integers(1, 50))
def test_those_are_spread_over_all(available: int, most: int) -> None:
    chosen = evenly(range(available), most)
    assert len(chosen) == len(set(chosen)) == min(available, most)
    assert chosen == sorted(chosen)
    gaps = [after - before for before, after in pairwise(chosen)]
    assert not gaps or max(gaps) - min(gaps) <= 1
    left, right = chosen[0], available - 1 - chosen[-1]
    assert abs(left - right) <= 1, "as far from both ends"
