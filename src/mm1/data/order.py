"""Permutations that are pure functions of a key: no state, no list of everything, the same on every machine.

    permute(np.arange(0, 2048), count=10**9, key=key_of(seed, "captions"))     # 2,048 of 10^9 documents, distinct

numpy's generators may change between versions; these few lines may not, so that a frozen order stays frozen.
Knows nothing of documents.
"""

from __future__ import annotations

import hashlib

import numpy as np

ROUNDS = 6
"""Of the Feistel network: four suffice for a pseudo-random permutation, six for small domains with it."""


def key_of(*parts: int | str) -> int:
    """A 64-bit key from a seed, names and numbers; different parts give unrelated keys."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "little")


def drawn(count: int, key: int) -> np.ndarray:
    """(count,) int64: independent numbers, uniform in 0 … 2^63 - 1."""
    return (_mix(np.arange(count, dtype=np.uint64), key) >> np.uint64(1)).astype(np.int64)


def uniform(numbers: np.ndarray, key: int) -> np.ndarray:
    """(n,) float64 in [0, 1), one for each of `numbers` (n,), independent of each other."""
    values: np.ndarray = (_mix(numbers.astype(np.uint64), key) >> np.uint64(11)) * 2.0**-53
    return values


def shuffled(count: int, key: int) -> np.ndarray:
    """(count,) int64: a permutation of 0 … count - 1."""
    # The mixed numbers are distinct, as what they are made of is: every way of sorting gives the same order.
    return np.argsort(_mix(np.arange(count, dtype=np.uint64), key))


def permute(positions: np.ndarray, count: int, key: int) -> np.ndarray:
    """(n,) int64: where a permutation of 0 … count - 1 sends `positions` (n,), in O(n) whatever `count` is.

    A Feistel network permutes the next power of four; what falls outside 0 … count - 1 is sent on until it is inside.
    """
    half = max(1, (max(count - 1, 1).bit_length() + 1) // 2)
    values = _feistel(positions.astype(np.uint64), half, key)
    while (outside := values >= count).any():
        values[outside] = _feistel(values[outside], half, key)
    return values.astype(np.int64)


def _feistel(values: np.ndarray, half: int, key: int) -> np.ndarray:
    """One pass over numbers of 2 * `half` bits."""
    bits, mask = np.uint64(half), np.uint64((1 << half) - 1)
    left, right = values >> bits, values & mask
    for number in range(ROUNDS):
        left, right = right, left ^ (_mix(right, key + number) & mask)
    return (left << bits) | right


def _mix(values: np.ndarray, key: int) -> np.ndarray:
    """splitmix64 of `values` (uint64, wrapping) under a key."""
    mixed = (values + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(key & 0xFFFFFFFFFFFFFFFF)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
