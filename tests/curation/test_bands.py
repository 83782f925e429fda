"""Near hashes share a key, always; far ones hardly ever."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.bands import bands


@settings(max_examples=300, deadline=None)
@given(
    number=st.integers(0, 2**64 - 1),
    distance=st.integers(0, 8),
    spare=st.integers(1, 3),
    places=st.randoms(use_true_random=False),
)
def test_near_hashes_share_a_key(number: int, distance: int, spare: int, places: object) -> None:
    other = number
    for place in places.sample(range(64), distance):  # type: ignore[attr-defined]
        other ^= 1 << place
    one, two = bands(np.array([number, other], np.uint64), distance, spare)
    assert np.any(one == two)


@pytest.mark.parametrize(("spare", "keys", "met"), [(1, 7, 0.05), (2, 28, 0.003), (3, 84, 0.0005)])
def test_strangers_seldom_meet(spare: int, keys: int, met: float) -> None:
    hashes = np.random.default_rng(0).integers(0, 2**64, 500, np.uint64)
    found = bands(hashes, 6, spare)
    assert found.shape == (500, keys)
    assert found.dtype == np.uint64
    meetings = np.mean([np.any(found[place] == found[place + 1 :], axis=1).mean() for place in range(499)])
    assert meetings < met


def test_columns_do_not_meet() -> None:
    """A hash of zeros has the same bits in every block, and still other keys."""
    (keys,) = bands(np.zeros(1, np.uint64), 6)
    assert len(set(keys.tolist())) == 28
