"""Every row is dealt once, in equal numbers, and no rank waits long for another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.data.budget import Unit
from mm1.data.dealing import ALIKE, RowCost, deal


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    ranks, at_once, microbatches = (draw(st.integers(1, 5)) for _ in range(3))
    count = ranks * at_once * microbatches
    costs = draw(st.lists(st.integers(0, 1000), min_size=count, max_size=count))
    return np.array(costs, np.float64), ranks, at_once


@given(batches())
def test_every_row_is_dealt_once_and_ascending_in_its_microbatch(batch: tuple[np.ndarray, int, int]) -> None:
    costs, ranks, at_once = batch
    dealt = deal(costs, ranks, at_once)
    assert dealt.shape == (ranks, len(costs) // ranks)
    assert sorted(dealt.flatten().tolist()) == list(range(len(costs)))
    assert (np.diff(dealt.reshape(ranks, -1, at_once), axis=2) > 0).all()


@given(batches())
def test_a_step_waits_less_than_rows_differ(batch: tuple[np.ndarray, int, int]) -> None:
    costs, ranks, at_once = batch
    loads = costs[deal(costs, ranks, at_once)].reshape(ranks, -1, at_once).sum(axis=2)
    assert (loads.max(axis=0) - loads.min(axis=0)).sum() <= np.ptp(costs)


@given(batches())
def test_no_microbatch_is_much_dearer_than_another(batch: tuple[np.ndarray, int, int]) -> None:
    """Or the memory of the dearest would be all that counts."""
    costs, ranks, at_once = batch
    loads = costs[deal(costs, ranks, at_once)].reshape(ranks, -1, at_once).sum(axis=2)
    assert np.ptp(loads) <= 2 * np.ptp(costs)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_rows_that_are_alike_are_dealt_in_turn(ranks: int) -> None:
    dealt = deal(np.zeros(12), ranks, 12 // ranks)
    assert dealt.tolist() == [list(range(rank, 12, ranks)) for rank in range(ranks)]


def test_a_row_costs_its_images_attention_and_text() -> None:
    row = [Unit("web", 3, 0, 10, 10, 2), Unit("web", 4, 5, 9, 20, 0)]
    cost = RowCost(image=1000, attended_pair=1, text_token=0)
    assert cost.of(row, num_image_tokens=4) == 2 * 1000 + 10 * 11 // 2 + 4 * 5 // 2
    assert RowCost(text_token=7).of(row, num_image_tokens=4) == 7 * (10 - 2 * 4 + 4)
    assert ALIKE.of(row, 4) == 0
