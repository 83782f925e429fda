"""Every request is computed, within its limits, and only what is really alike is shared."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.generate.batching import PADDING_FREE, PADDING_SHARE, Request, plan_batches, slices

keys = st.lists(st.integers(0, 1), min_size=1, max_size=12)


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    made = []
    for values in draw(st.lists(keys, min_size=1, max_size=12)):
        sharable = draw(st.integers(0, len(values) - 1))
        known = draw(st.integers(0, sharable))
        made.append(Request(np.array(values), sharable, len(values) + draw(st.integers(0, 5)), known))
    return made


@settings(max_examples=50, deadline=None)
@given(requests(), st.integers(1, 200))
def test_every_request_has_one_row_in_a_batch_of_bounded_size(asked: list[Request], max_positions: int) -> None:
    plans = plan_batches(asked, max_positions)
    assert sorted(index for plan in plans for index in plan.requests) == list(range(len(asked)))
    for plan in plans:
        capacities = [asked[index].capacity for index in plan.requests]
        assert len(capacities) == 1 or max(capacities) * len(capacities) <= max_positions
        assert max(capacities) < 2 * min(capacities)


@settings(max_examples=50, deadline=None)
@given(requests())
def test_groups_hold_equal_things_that_nobody_asks_for(asked: list[Request]) -> None:
    for plan in plan_batches(asked, 200):
        rows = [asked[index] for index in plan.requests]
        left = [len(row.keys) - start for row, start in zip(rows, plan.starts, strict=True)]
        assert left == sorted(left, reverse=True)
        grouped = [row for group in plan.groups for row in group.rows]
        assert len(set(grouped)) == len(grouped)
        assert all(plan.starts[row] == 0 for row in range(len(rows)) if row not in grouped)
        assert all(start >= row.known for row, start in zip(rows, plan.starts, strict=True))
        assert [group.shared for group in plan.groups] == sorted((g.shared for g in plan.groups), reverse=True)
        for group in plan.groups:
            beginning = rows[group.rows[0]].keys[: group.shared]
            for row in group.rows:
                assert plan.starts[row] == group.shared <= rows[row].sharable
                assert np.array_equal(rows[row].keys[: group.shared], beginning)


def _asking(*texts: str) -> list[Request]:
    return [Request(np.array([ord(letter) for letter in text]), len(text) - 1, len(text)) for text in texts]


def test_prompts_of_the_same_shots_share_them() -> None:
    (plan,) = plan_batches(_asking("shots: a", "shots: b", "another one", "shots: cc"), 1000)
    assert dict(zip(plan.requests, plan.starts, strict=True)) == {0: 7, 1: 7, 2: 0, 3: 7}


def test_a_short_header_does_not_break_up_long_beginnings() -> None:
    texts = ["head " + letter * 20 + end for letter in "xy" for end in "12"]
    (plan,) = plan_batches(_asking(*texts), 1000)
    assert plan.starts == (25, 25, 25, 25)
    assert len(plan.groups) == 2


def test_a_request_that_shares_little_does_not_take_from_those_that_share_much() -> None:
    texts = ["shots " + "s" * 40 + end for end in "1234567"] + ["shots " + "s" * 20 + "x" * 14]
    (plan,) = plan_batches(_asking(*texts), 1000)
    assert dict(zip(plan.requests, plan.starts, strict=True)) == {**dict.fromkeys(range(7), 46), 7: 0}


def test_what_is_shared_is_the_same_in_every_batch() -> None:
    plans = plan_batches(_asking(*("shots: " + end for end in ("aa", "ab", "ac", "bb"))), 18)
    assert len(plans) == 2
    assert [group.shared for plan in plans for group in plan.groups] == [7, 7]


def test_equal_prompts_keep_their_last_position() -> None:
    (plan,) = plan_batches(_asking("same", "same"), 1000)
    assert plan.starts == (3, 3)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=60), st.integers(1, 3000))
def test_slices_cover_all_rows_with_little_padding(lengths: list[int], max_positions: int) -> None:
    lengths = sorted(lengths, reverse=True)
    runs = slices(lengths, max_positions)
    assert [row for run in runs for row in run] == list(range(len(lengths)))
    for run in runs:
        real = sum(lengths[row] for row in run)
        padded = lengths[run.start] * len(run)
        assert len(run) == 1 or padded <= max_positions
        assert padded - real <= PADDING_FREE + real // PADDING_SHARE


def test_like_lengths_go_together() -> None:
    assert slices([150] * 20, 3000) == [range(20)]
