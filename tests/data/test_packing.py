"""Packs within budgets, nothing lost, well filled; cuts where they hurt least."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mm1.data.encode import IMAGE_LENGTH
from mm1.data.packing import Range, members, pack, split

items = st.lists(st.tuples(st.integers(1, 64), st.integers(0, 5)), max_size=80)


def groups(lengths: np.ndarray, images: np.ndarray, capacity: int, max_images: int) -> list[list[int]]:
    """The ranges of each pack."""
    order, bounds = members(pack(lengths, images, capacity, max_images))
    return [order[start:stop].tolist() for start, stop in pairwise(bounds.tolist())]


@given(items=items)
def test_packs_keep_both_budgets_and_hold_everything_once(items: list[tuple[int, int]]) -> None:
    lengths, images = np.array(items, np.int64).reshape(-1, 2).T
    packs = groups(lengths, images, capacity=64, max_images=5)
    assert sorted(index for group in packs for index in group) == list(range(len(items)))
    assert all(lengths[group].sum() <= 64 and images[group].sum() <= 5 for group in packs)
    assert all(packs)


def best_fit_decreasing(items: list[tuple[int, int]], capacity: int, max_images: int) -> list[list[int]]:
    """The rule, word by word: the largest range first, into the pack that is left with least of both budgets."""

    def left(pack: list[int], extra: int | None = None) -> tuple[int, int]:
        inside = [*pack, *([] if extra is None else [extra])]
        return capacity - sum(items[i][0] for i in inside), max_images - sum(items[i][1] for i in inside)

    packs: list[list[int]] = []
    shares = [Fraction(tokens, capacity) + Fraction(images, max_images) for tokens, images in items]
    for index in sorted(range(len(items)), key=lambda i: (-shares[i], -items[i][0])):
        fitting = [pack for pack in packs if min(left(pack, index)) >= 0]
        if not fitting:
            fitting = [[]]
            packs += fitting
        remaining = [left(pack)[0] * max_images + left(pack)[1] * capacity for pack in fitting]
        fitting[remaining.index(min(remaining))].append(index)
    return [sorted(pack) for pack in packs]


@pytest.mark.parametrize("step", [1, 4])  # with 4, many packs and ranges are equal
@given(items=st.lists(st.tuples(st.integers(1, 16), st.integers(0, 4)), max_size=60))
@example(items=[(9, 3), (13, 2), (3, 1)])
@example(items=[(1, 0)] * 40 + [(1, 1)] * 9)
def test_packing_is_best_fit_decreasing(items: list[tuple[int, int]], step: int) -> None:
    items = [(step * tokens, images) for tokens, images in items]
    lengths, images = np.array(items, np.int64).reshape(-1, 2).T
    assert groups(lengths, images, 16 * step, 4) == best_fit_decreasing(items, 16 * step, 4)


@pytest.mark.parametrize("images", [(0, 1), (1, 2), (1, 4)])
def test_packs_are_filled(images: tuple[int, int]) -> None:
    """97 % of 256 positions for texts of 15 to 60 tokens, while the images leave it open."""
    rng = np.random.default_rng(0)
    count = rng.integers(*images, 2048)
    lengths = rng.integers(15, 61, 2048) + 4 * count
    packs = pack(lengths, count, capacity=256, max_images=16)
    assert lengths.sum() / (256 * (packs.max() + 1)) >= 0.97


def test_where_images_are_the_limit_their_budget_is_filled() -> None:
    rng = np.random.default_rng(0)
    count = rng.integers(1, 10, 2048)
    packs = pack(rng.integers(15, 61, 2048) + 4 * count, count, capacity=256, max_images=16)
    assert count.sum() / (16 * (packs.max() + 1)) >= 0.97


def tokens_of(lengths: list[int], num_image_tokens: int) -> int:
    return sum(-length * num_image_tokens if length < 0 else length for length in lengths)


documents = st.lists(st.one_of(st.just(IMAGE_LENGTH), st.integers(0, 50)), max_size=25)
cut_documents = st.lists(st.one_of(st.integers(-3, -1), st.integers(0, 50)), max_size=25)
"""Pictures of one to three sub-images."""


@given(
    lengths=cut_documents,
    num_image_tokens=st.integers(1, 5),
    max_images=st.integers(3, 6),
    pairs=st.booleans(),
    bos=st.booleans(),
)
def test_ranges_cover_the_document_within_budgets(
    lengths: list[int], num_image_tokens: int, max_images: int, pairs: bool, bos: bool
) -> None:
    if pairs:
        lengths = [IMAGE_LENGTH, *lengths]
    ranges = split(lengths, num_image_tokens, 16, max_images, pairs=pairs, bos=bos)
    assert [part.start for part in ranges] == [0, *(part.stop for part in ranges[:-1])]
    assert all(0 < part.stop - part.start <= 16 and part.num_images <= max_images for part in ranges)
    assert sum(part.num_images for part in ranges) == -sum(length for length in lengths if length < 0)
    if not pairs:
        assert ranges[-1].stop == tokens_of(lengths, num_image_tokens) + 1 + bos


@given(lengths=cut_documents, max_images=st.integers(3, 6), bos=st.booleans())
def test_no_picture_is_cut_nor_parted_from_the_bos_before_it(lengths: list[int], max_images: int, bos: bool) -> None:
    inside, position = set(), int(bos)
    for length in lengths:
        size = -5 * length if length < 0 else length
        inside |= set(range(position + 1, position + size)) if length < 0 else set()
        position += size
    cuts = {part.start for part in split(lengths, 5, 16, max_images, bos=bos)}
    assert not cuts & inside
    if bos and position > 1:
        assert 1 not in cuts


@given(lengths=documents, num_image_tokens=st.integers(1, 9), max_images=st.integers(1, 4))
def test_three_sub_images_are_three_images_that_stay_together(
    lengths: list[int], num_image_tokens: int, max_images: int
) -> None:
    three = [-3 if length == IMAGE_LENGTH else length for length in lengths]
    whole = split(lengths, 3 * num_image_tokens, 32, max_images)
    assert split(three, num_image_tokens, 32, 3 * max_images) == [
        Range(part.start, part.stop, 3 * part.num_images) for part in whole
    ]


def test_a_document_that_fits_is_one_range() -> None:
    assert split([3, IMAGE_LENGTH, 7], 4, 15, 1) == [Range(0, 15, 1)]
    assert split([], 4, 15, 1) == [Range(0, 1, 0)]


def test_an_image_keeps_the_text_after_it() -> None:
    assert split([6, IMAGE_LENGTH, 5, IMAGE_LENGTH, 5], 4, 16, 9) == [Range(0, 15, 1), Range(15, 25, 1)]
    assert split([IMAGE_LENGTH, IMAGE_LENGTH, 5, IMAGE_LENGTH, 2], 4, 64, 2) == [Range(0, 13, 2), Range(13, 20, 1)]


def test_a_bos_stays_with_what_it_precedes() -> None:
    assert split([6, IMAGE_LENGTH, 5], 4, 11, 9, bos=True) == [Range(0, 7, 0), Range(7, 17, 1)]
    assert split([IMAGE_LENGTH, 30], 4, 16, 1, bos=True) == [Range(0, 16, 1), Range(16, 32, 0), Range(32, 36, 0)]
    assert split([0, -3], 5, 16, 3, bos=True) == [Range(0, 16, 3), Range(16, 17, 0)]
    assert split([], 4, 16, 1, bos=True) == [Range(0, 2, 0)]
    assert split([-1, 1, -1, 1], 0, 4, 9, pairs=True, bos=True) == [Range(0, 3, 1), Range(3, 6, 1)]


def test_a_text_longer_than_a_sequence_is_cut_at_any_token() -> None:
    assert split([IMAGE_LENGTH, 30], 4, 16, 1) == [Range(0, 16, 1), Range(16, 32, 0), Range(32, 35, 0)]


def test_pairs_are_cut_between_pairs_and_long_ones_shortened() -> None:
    assert split([IMAGE_LENGTH, 5, IMAGE_LENGTH, 50, IMAGE_LENGTH, 5], 0, 16, 9, pairs=True) == [
        Range(0, 6, 1),
        Range(6, 22, 1),
        Range(22, 28, 1),
    ]
