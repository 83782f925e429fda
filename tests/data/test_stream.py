"""A source's packs: every document once an epoch, by formula, whatever stands beside it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import combinations
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.data import stream as stream_module
from mm1.data.budget import Budget
from mm1.data.encode import IMAGE_LENGTH
from mm1.data.sources import sum_lengths
from mm1.data.stream import SourceStream
from mm1.data.sub_images import WHOLE, BestGridConfig, FixedGridConfig, SubImagesConfig, num_sub_images


class Lengths:
    """A source of lengths alone."""

    def __init__(self, rows: list[list[int]]) -> None:
        self.rows = rows
        self.name = "lengths"
        self.asked = 0

    def __len__(self) -> int:
        return len(self.rows)

    def document(self, index: int) -> SimpleNamespace:
        raise AssertionError("a plan looks at lengths only")

    def segment_lengths(self, index: int) -> list[int]:
        return self.rows[index]

    def image_sizes(self, indices: np.ndarray) -> np.ndarray:
        raise AssertionError("sizes matter only where they decide what is cut")

    def totals(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        self.asked += len(indices)
        rows = [self.rows[index] for index in indices.tolist()]
        bounds = np.cumsum([0, *map(len, rows)])
        return sum_lengths(np.array([length for row in rows for length in row], np.int64), bounds)


class Sizes(Lengths):
    """A source of lengths and of sizes, by document, of the images among them."""

    def __init__(self, rows: list[list[int]], sizes: list[list[tuple[int, int]]]) -> None:
        super().__init__(rows)
        self.sizes = sizes

    def image_sizes(self, indices: np.ndarray) -> np.ndarray:
        return np.array([size for index in indices for size in self.sizes[index]], np.int64).reshape(-1, 2)


BUDGET = Budget(capacity=32, max_images=4, num_image_tokens=3, image_size=8, sub_images=WHOLE, pairs=False, bos=False)
rows = st.lists(st.lists(st.one_of(st.just(IMAGE_LENGTH), st.integers(0, 40)), max_size=6), min_size=1, max_size=40)


def small_blocks(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(stream_module, "BLOCK", size)


def packs_of_epoch(stream: SourceStream) -> int:
    """Packs until the first epoch is over."""
    number = 0
    while stream.epochs(number) < 1:
        number += 1
    return number


@settings(max_examples=60)
@given(rows=rows, seed=st.integers(0, 9), block=st.integers(1, 20), pairs=st.booleans(), bos=st.booleans())
def test_every_token_of_every_document_once_an_epoch(
    rows: list[list[int]], seed: int, block: int, pairs: bool, bos: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, block)
        if pairs:
            rows = [[IMAGE_LENGTH, *row] for row in rows]
        budget = replace(BUDGET, pairs=pairs, bos=bos)
        stream = SourceStream(Lengths(rows), "s", seed, budget)
        count = packs_of_epoch(stream)
        for epoch in range(3):
            seen: dict[int, list[tuple[int, int]]] = {number: [] for number in range(len(rows))}
            tokens = 0
            for number in range(epoch * count, (epoch + 1) * count):
                units = stream.pack(number)
                assert sum(len(unit) for unit in units) <= 32
                assert sum(unit.num_images for unit in units) <= 4
                tokens += sum(len(unit) for unit in units)
                for unit in units:
                    seen[unit.document].append((unit.start, unit.stop))
            for document, parts in seen.items():
                expected = [(unit.start, unit.stop) for unit in budget.cut("s", document, rows[document])]
                assert sorted(parts) == expected
            assert stream.epochs((epoch + 1) * count) == epoch + 1
            assert stream.tokens((epoch + 1) * count) == tokens * (epoch + 1)


@settings(max_examples=30)
@given(rows=rows, block=st.integers(1, 20), number=st.integers(0, 200))
def test_a_pack_is_looked_up_without_those_before_it(rows: list[list[int]], block: int, number: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        small_blocks(patch, block)
        read = SourceStream(Lengths(rows), "s", 0, BUDGET)
        in_order = [read.pack(earlier) for earlier in range(number + 1)]
        assert SourceStream(Lengths(rows), "s", 0, BUDGET).pack(number) == in_order[number]
        assert read.tokens(number) == sum(len(unit) for units in in_order[:number] for unit in units)


def test_epochs_differ_in_the_order_of_blocks_and_of_packs_in_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 16)
    stream = SourceStream(Lengths([[10]] * 160), "s", 0, BUDGET)
    count = packs_of_epoch(stream)
    epochs = [[tuple(stream.pack(number)) for number in range(e * count, (e + 1) * count)] for e in range(3)]
    assert Counter(epochs[0]) == Counter(epochs[1]) == Counter(epochs[2])
    per_block = count // 10
    blocks = [[epoch[first : first + per_block] for first in range(0, count, per_block)] for epoch in epochs]
    assert len({tuple(frozenset(block) for block in epoch) for epoch in blocks}) == 3
    same_block = [next(block for block in epoch if epochs[0][0] in block) for epoch in blocks]
    assert len({tuple(block) for block in same_block}) == 3


def test_packs_of_a_block_do_not_come_longest_document_first() -> None:
    stream = SourceStream(Lengths([[n % 25 + 1] for n in range(1000)]), "s", 0, BUDGET)
    longest = [max(len(unit) for unit in stream.pack(number)) for number in range(200)]
    assert abs(np.corrcoef(longest, np.arange(200))[0, 1]) < 0.3


def test_a_run_pays_for_the_documents_that_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 10)
    source = Lengths([[12]] * 1000)
    stream = SourceStream(source, "s", 0, BUDGET)
    assert source.asked == 0
    stream.pack(0)
    assert source.asked == 10
    for number in range(40):
        stream.pack(number)
    assert source.asked <= 100
    assert len(stream._blocks) <= stream_module.KEPT_BLOCKS


def test_which_documents_meet_hangs_on_seed_and_name(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 50)
    source = Lengths([[n % 25] for n in range(300)])
    streams = [SourceStream(source, name, seed, BUDGET) for name, seed in (("a", 0), ("b", 0), ("a", 1))]
    first_blocks = [{unit.document for k in range(20) for unit in stream.pack(k)} for stream in streams]
    # Independent choices of 50 among 300 share about 8; one block read in two orders shares nearly all.
    assert all(len(one & other) < 25 for one, other in combinations(first_blocks, 2))


def test_counts_are_taken_over_unless_the_data_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 10)
    source = Lengths([[n % 25] for n in range(100)])
    first = SourceStream(source, "s", 0, BUDGET)
    expected = first.pack(50)
    source.asked = 0
    second = SourceStream(source, "s", 0, BUDGET)
    second.restore(first.counts)
    assert second.pack(50) == expected
    assert source.asked <= 20  # the block asked for, and the first as a check
    changed = SourceStream(Lengths([[n * n % 25] for n in range(100)]), "s", 0, BUDGET)
    with pytest.raises(
        UserError, match=r"source 's' begins with \d+ tokens where the plan counted \d+: the data changed"
    ):
        changed.restore(first.counts)


def test_a_stream_learns_what_another_copy_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch, 10)
    rows = [[n % 25] for n in range(100)]
    counting, source = SourceStream(Lengths(rows), "s", 0, BUDGET), Lengths(rows)
    counting.count(7)
    stream = SourceStream(source, "s", 0, BUDGET)
    stream.learn(0, counting.counts[:, :4])
    stream.learn(2, counting.counts[:, 2:8])  # from where it knew less
    stream.learn(1, counting.counts[:, 1:3])  # what is known already changes nothing
    assert stream.counts.tolist() == counting.counts.tolist()
    assert source.asked == 0
    stream = SourceStream(source, "s", 0, BUDGET)
    stream.learn(3, counting.counts[:, 3:])  # with a gap before it, it says nothing
    assert stream.counts.shape == (3, 1)


def test_what_can_not_be_streamed() -> None:
    with pytest.raises(UserError, match="'empty' has no documents"):
        SourceStream(Lengths([]), "empty", 0, BUDGET)
    pairs = SourceStream(Lengths([[5]]), "prose", 0, replace(BUDGET, num_image_tokens=0, pairs=True))
    with pytest.raises(UserError, match="document 0 of source 'prose' does not begin with an image"):
        pairs.pack(0)


@given(data=st.data(), rows=rows, bos=st.booleans())
def test_pictures_cut_by_their_size_keep_the_budgets_and_lose_nothing(
    data: st.DataObject, rows: list[list[int]], bos: bool
) -> None:
    """What `totals` counts for many documents at once is what the units of each, split by its own lengths, hold."""
    side = st.integers(0, 40)
    sizes = [[data.draw(st.tuples(side, side)) for _ in range(row.count(IMAGE_LENGTH))] for row in rows]
    source = Sizes(rows, sizes)
    policy = SubImagesConfig(grid=BestGridConfig(min_tiles=1, max_tiles=6), overview="last")
    budget = replace(BUDGET, max_images=8, sub_images=policy, bos=bos)
    order = np.array(data.draw(st.permutations(range(len(rows)))))
    tokens, images = budget.totals(source, order)
    for document, total, count in zip(order.tolist(), tokens.tolist(), images.tolist(), strict=True):
        lengths = budget.segment_lengths(source, document)
        expected = [num_sub_images(policy, 8, np.array([w]), np.array([h]))[0] for w, h in sizes[document]]
        assert [-length for length in lengths if length < 0] == expected
        units = budget.cut("s", document, lengths)
        assert (units[-1].stop, sum(unit.num_images for unit in units)) == (total, count)
        assert total == sum(length if length >= 0 else -3 * length for length in lengths) + 1 + bos
    stream = SourceStream(source, "s", 0, budget)
    seen: Counter[int] = Counter()
    for number in range(packs_of_epoch(stream)):
        pack = stream.pack(number)
        assert sum(len(unit) for unit in pack) <= 32
        assert sum(unit.num_images for unit in pack) <= 8
        seen.update({unit.document: 0 for unit in pack})
        for unit in pack:
            seen[unit.document] += len(unit)
    assert [seen[document] for document in order.tolist()] == tokens.tolist()


def test_a_fixed_grid_needs_no_sizes() -> None:
    budget = replace(BUDGET, sub_images=SubImagesConfig(grid=FixedGridConfig(rows=1, columns=2)))
    source = Lengths([[IMAGE_LENGTH, 5], [7], [IMAGE_LENGTH, IMAGE_LENGTH]])
    tokens, images = budget.totals(source, np.array([2, 0, 1]))
    assert (tokens.tolist(), images.tolist()) == ([19, 15, 8], [6, 3, 0])
    assert budget.segment_lengths(source, 2) == [-3, -3]
