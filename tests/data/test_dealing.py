"""Every document is dealt once, within what a microbatch has room for, and no rank waits long for another."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.data import dealing as dealing_module
from mm1.data.budget import Budget, Unit
from mm1.data.dealing import IN_TURN, Cost, Dealing, deal_documents, deal_rows
from mm1.data.sub_images import WHOLE

BUDGET = Budget(capacity=100, max_images=3, num_image_tokens=4, image_size=8, sub_images=WHOLE, pairs=False, bos=False)
COST = Cost(image=50, attended_pair=0.1, token=1, text_token=2)


def unit(length: int, images: int = 0) -> Unit:
    return Unit("web", 0, 0, length, length, images)


@st.composite
def row(draw: st.DrawFn) -> list[Unit]:
    """Units within the budget."""
    units, tokens, images = [], 0, 0
    for _ in range(draw(st.integers(0, 6))):
        shown = draw(st.integers(0, 2))
        length = draw(st.integers(1 + 4 * shown, 40))
        if tokens + length <= BUDGET.capacity and images + shown <= BUDGET.max_images:
            units.append(unit(length, shown))
            tokens, images = tokens + length, images + shown
    return units


@st.composite
def steps(draw: st.DrawFn) -> tuple[list[list[Unit]], int, int]:
    ranks, at_once, microbatches = (draw(st.integers(1, 4)) for _ in range(3))
    count = ranks * at_once * microbatches
    return draw(st.lists(row(), min_size=count, max_size=count)), ranks, at_once


@given(steps(), st.booleans())
def test_every_document_is_dealt_once(step: tuple[list[list[Unit]], int, int], by_document: bool) -> None:
    rows, ranks, at_once = step
    dealt = Dealing(cost=COST, microbatch_rows=at_once, by_document=by_document).places(rows, ranks, BUDGET)
    assert len(dealt) == ranks
    assert {len(own) for own in dealt} == {len(rows) // ranks // (at_once if by_document else 1)}
    places = [place for own in dealt for places in own for place in places]
    assert sorted(places) == [(row, number) for row, units in enumerate(rows) for number in range(len(units))]
    if not by_document:
        assert all(len({row for row, _ in places}) <= 1 for own in dealt for places in own), "rows stay whole"
    for own in dealt:
        for places in own:
            units = [rows[row][number] for row, number in places]
            assert sum(map(len, units)) <= at_once * BUDGET.capacity
            assert sum(one.num_images for one in units) <= at_once * BUDGET.max_images
            assert places == sorted(places)


@st.composite
def costs(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    ranks, at_once, microbatches = (draw(st.integers(1, 5)) for _ in range(3))
    count = ranks * at_once * microbatches
    return np.array(draw(st.lists(st.integers(0, 1000), min_size=count, max_size=count)), np.float64), ranks, at_once


@given(costs())
def test_dealt_rows_wait_less_than_they_differ(step: tuple[np.ndarray, int, int]) -> None:
    """Summed over a step, the dearest rank of each microbatch above the cheapest; and no microbatch is far above."""
    of_rows, ranks, at_once = step
    dealt = deal_rows(of_rows, ranks, at_once)
    assert sorted(dealt.flatten().tolist()) == list(range(len(of_rows)))
    loads = of_rows[dealt].reshape(ranks, -1, at_once).sum(axis=2)
    assert (loads.max(axis=0) - loads.min(axis=0)).sum() <= np.ptp(of_rows)
    assert np.ptp(loads) <= 2 * np.ptp(of_rows)


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_rows_that_are_alike_are_dealt_in_turn(ranks: int) -> None:
    rows = [[unit(10 + number)] for number in range(12)]
    dealt = IN_TURN.places(rows, ranks, BUDGET)
    assert dealt == [[[(row, 0)] for row in range(rank, 12, ranks)] for rank in range(ranks)]


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 6))
def test_with_room_enough_no_microbatch_is_above_another_by_more_than_a_document(given: list[int], bins: int) -> None:
    values = np.array(given, np.float64)
    numbers = deal_documents(values, np.ones((2, len(given)), np.int64), bins, (40, 40))
    assert numbers is not None
    loads = np.bincount(numbers, weights=values, minlength=bins)
    assert (np.diff(loads) <= 0).all(), "the dearest is numbered 0"
    assert np.ptp(loads) <= max(given, default=0)


def test_documents_without_room_are_dealt_as_rows() -> None:
    # Dearest first, the two images come to two microbatches, and nowhere is room for the whole row of text.
    rows = [[unit(50, 1), unit(50, 1)], [unit(100)]]
    assert deal_documents(np.array([100.0, 100, 1]), np.array([[50, 50, 100], [1, 1, 0]]), 2, (100, 3)) is None
    dealing = Dealing(cost=COST, microbatch_rows=1, by_document=True)
    assert sorted(dealing.places(rows, 2, BUDGET)) == [[[(0, 0), (0, 1)]], [[(1, 0)]]]


def test_who_has_the_dearest_microbatch_has_the_cheapest_next() -> None:
    """In each microbatch the ranks' documents are next to each other in cost, and over the step they even out."""
    lengths = [80, 40, 20, 10]
    dealing = Dealing(cost=Cost(token=1), microbatch_rows=1, by_document=True)
    dealt = dealing.places([[unit(length)] for length in lengths], 2, BUDGET)
    assert [[[lengths[row] for row, _ in places] for places in own] for own in dealt] == [[[80], [10]], [[40], [20]]]


def test_full_microbatches_are_not_looked_at_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second document fills a microbatch that stays the cheapest: all after it are held against it in vain."""
    costs, needs = np.array([300.0, 20, *[1.0] * 50]), np.array([[10, 100, *[1] * 50], [0] * 52])
    assert (deal_documents(costs, needs, 2, (100, 3)) == [0, 1, *[0] * 50]).all()
    monkeypatch.setattr(dealing_module, "ATTEMPTS", 0)
    assert deal_documents(costs, needs, 2, (100, 3)) is None


def test_a_document_costs_its_images_attention_and_tokens() -> None:
    one = Unit("web", 3, 5, 15, 20, 2)
    assert Cost(image=1000).of(one, 4) == 2000
    assert Cost(attended_pair=1).of(one, 4) == 10 * 11 // 2
    assert Cost(token=3).of(one, 4) == 30
    assert Cost(text_token=7).of(one, 4) == 7 * (10 - 2 * 4)
    assert Cost().of(one, 4) == 0
