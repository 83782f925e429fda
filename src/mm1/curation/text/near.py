"""From keys that texts share to the texts that are dropped as near-duplicates.

    edges = candidates(keys, documents)                     # pairs of documents that share a key
    edges = edges[agree(edges, signatures_of, 0.75)]        # those whose signatures are alike
    documents, labels = clusters(edges)                     # linked directly or through others
    later_copies(documents, labels, lengths)                # all but the longest of each cluster

Documents are numbers here, and arrays hold only those that have a likely twin, so that memory goes with the number of
duplicates and not with the size of the set. Results do not depend on the order of edges. Knows nothing of files.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mm1.curation.text.minhash import similarity

_SLICE = 1 << 14
"""Pairs compared at once, which bounds the memory of their signatures."""


def candidates(keys: NDArray[np.uint64], documents: NDArray[np.int64]) -> NDArray[np.int64]:
    """[E, 2] pairs (smaller number first) of the [N] documents whose keys are equal.

    Of n documents with one key each is paired with the first and with the one before, 2n - 3 pairs in all instead of
    n (n - 1) / 2: a boilerplate page that is there a million times costs two million comparisons.
    """
    order = np.lexsort((documents, keys))
    keys, documents = keys[order], documents[order]
    same = np.flatnonzero(keys[1:] == keys[:-1]) + 1
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
    firsts = starts[np.searchsorted(starts, same, "right") - 1]
    pairs = [np.stack([documents[before], documents[same]], axis=1) for before in (firsts, same - 1)]
    return np.unique(np.concatenate(pairs), axis=0)


def agree(
    edges: NDArray[np.int64], signatures_of: Callable[[NDArray[np.int64]], NDArray[np.uint32]], threshold: float
) -> NDArray[np.bool_]:
    """[E] whether the signatures of the two documents of each edge are alike in at least `threshold` of their values.

    Args:
        edges: [E, 2] documents.
        signatures_of: gives the signatures [n, permutations] of n documents.
        threshold: as in `MinHash`.
    """
    alike = np.zeros(len(edges), bool)
    for start in range(0, len(edges), _SLICE):
        piece = edges[start : start + _SLICE]
        likeness = similarity(signatures_of(piece[:, 0]), signatures_of(piece[:, 1]))
        alike[start : start + _SLICE] = likeness >= threshold
    return alike


def clusters(edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The documents that occur in [E, 2] edges, in order, and for each the smallest document it is linked to."""
    documents, ends = np.unique(edges, return_inverse=True)
    left, right = ends.reshape(-1, 2).T
    labels = np.arange(len(documents))
    while True:
        least = np.minimum(labels[left], labels[right])
        linked = labels.copy()
        for side in (left, right):
            np.minimum.at(linked, labels[side], least)  # the label's own label: whole clusters join, not single members
            np.minimum.at(linked, side, least)
        linked = linked[linked]
        if np.array_equal(linked, labels):
            return documents, documents[labels]
        labels = linked


def later_copies(
    documents: NDArray[np.int64], labels: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.int64]:
    """All documents but one of each cluster, in order: the longest stays, of equally long ones the first."""
    order = np.lexsort((documents, -lengths, labels))
    later = np.ones(len(documents), bool)
    later[order[np.concatenate([[True], np.diff(labels[order]) != 0])[: len(order)]]] = False
    return documents[later]
