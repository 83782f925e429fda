"""Clusters against a plain search through links; what is dropped does not depend on anything's order."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.text.near import agree, candidates, clusters, later_copies

edges = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)).filter(lambda edge: edge[0] != edge[1]), max_size=40)


def _array(pairs: list[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1, 2)


@given(edges)
def test_clusters_are_what_is_linked(pairs: list[tuple[int, int]]) -> None:
    groups: dict[int, set[int]] = {number: {number} for pair in pairs for number in pair}
    for one, other in pairs:
        merged = groups[one] | groups[other]
        for number in merged:
            groups[number] = merged
    documents, labels = clusters(_array(pairs))
    assert documents.tolist() == sorted(groups)
    assert labels.tolist() == [min(groups[number]) for number in sorted(groups)]


def test_a_long_chain_is_one_cluster() -> None:
    order = np.random.default_rng(0).permutation(5000)
    chain = np.stack([order[:-1], order[1:]], axis=1)
    assert not clusters(chain)[1].any()


@given(st.lists(st.integers(0, 5), max_size=25), st.randoms(use_true_random=False))
def test_candidates_link_all_that_share_a_key_and_no_others(keys: list[int], draw) -> None:
    order = list(range(len(keys)))
    draw.shuffle(order)
    found = candidates(np.array(keys, np.uint64)[order], np.array(order, np.int64))
    assert all(keys[one] == keys[other] and one < other for one, other in found.tolist())
    labels = dict(zip(*(column.tolist() for column in clusters(found)), strict=True))
    assert [labels.get(number, number) for number in range(len(keys))] == [keys.index(key) for key in keys]
    assert len(found) <= 2 * len(keys)


def test_each_is_paired_with_the_first_and_the_one_before() -> None:
    found = candidates(np.array([7, 7, 7, 7], np.uint64), np.arange(4))
    assert found.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]]


@given(edges, st.lists(st.integers(1, 3), min_size=31, max_size=31))
def test_the_longest_stays_and_of_equally_long_ones_the_first(pairs: list[tuple[int, int]], lengths: list[int]) -> None:
    documents, labels = clusters(_array(pairs))
    dropped = set(later_copies(documents, labels, np.array(lengths)[documents]).tolist())
    for label in set(labels.tolist()):
        members = documents[labels == label].tolist()
        best = max(members, key=lambda number: (lengths[number], -number))
        assert set(members) - dropped == {best}


def test_agreement_is_asked_in_slices(monkeypatch) -> None:
    from mm1.curation.text import near

    signatures = np.array([[1, 2, 3, 4], [1, 2, 3, 9], [1, 2, 8, 9], [7, 7, 7, 7]], np.uint32)
    pairs = _array([(0, 1), (0, 2), (1, 2), (0, 3)])
    monkeypatch.setattr(near, "_SLICE", 2)
    assert agree(pairs, signatures.__getitem__, 0.75).tolist() == [True, False, True, False]
    assert agree(pairs, signatures.__getitem__, 0.5).tolist() == [True, True, True, False]
