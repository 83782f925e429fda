"""Permutations are permutations, and stay what they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mm1.data.order import key_of, permute, shuffled

keys = st.integers(0, 2**64 - 1)


@given(count=st.integers(1, 3000), key=keys)
def test_every_number_once(count: int, key: int) -> None:
    everything = list(range(count))
    assert sorted(permute(np.arange(count), count, key).tolist()) == everything
    assert sorted(shuffled(count, key).tolist()) == everything


@given(start=st.integers(0, 10**9 - 10**3), key=keys)
def test_a_part_of_a_huge_permutation_costs_only_the_part(start: int, key: int) -> None:
    part = permute(np.arange(start, start + 1000), 10**9, key)
    assert len(set(part.tolist())) == 1000
    assert 0 <= part.min() <= part.max() < 10**9


def test_the_order_is_well_mixed() -> None:
    count = 10_000
    for order in (permute(np.arange(count), count, key_of(0, "a")), shuffled(count, key_of(0, "a"))):
        assert abs(np.corrcoef(order, np.arange(count))[0, 1]) < 0.05
        assert np.count_nonzero(np.abs(np.diff(order)) == 1) < 10


def test_keys_differ_by_every_part() -> None:
    assert len({key_of(0, "a"), key_of(1, "a"), key_of(0, "b"), key_of(0, "a", 0), key_of("0", "a")}) == 5


def test_a_frozen_order_stays_frozen() -> None:
    assert permute(np.arange(10), 10, key_of(1, "a")).tolist() == [7, 6, 5, 4, 3, 2, 9, 1, 8, 0]
    assert shuffled(10, key_of(3)).tolist() == [3, 5, 1, 2, 6, 9, 4, 8, 0, 7]
