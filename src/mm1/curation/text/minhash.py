"""MinHash: a short signature of a text, from which the likeness of two texts is read, and keys by which likes meet.

    one, other = (signature(hash_words(text), MinHash()) for text in texts)
    similarity(one, other)                  # about the Jaccard similarity of their sets of word 5-grams
    band_keys(one[None], MinHash())         # [1, bands]: two texts that share any key are candidates (near.py)

The minimum over a text's n-grams of a random function falls on the same n-gram in two texts with the probability of
their Jaccard similarity J (Broder 1997). With r values a band and b bands, two texts share a key with probability
1 - (1 - J**r)**b. Functions are x → a x + c on 32-bit integers that wrap, so that a signature is the same on every
machine and costs one multiplication a value; constants come from a fixed seed. Knows nothing of which of two likes
is kept.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from mm1.config import Config
from mm1.curation.text.characters import Words, mix

_SLICE = 1 << 14
"""N-grams taken at once, which bounds the memory of a long text."""


class MinHash(Config):
    """How texts are compared."""

    ngram: int = Field(default=5, ge=1)
    """Words in a shingle: 5 as in FineWeb (arXiv 2406.17557, section 3.4)."""
    bands: int = Field(default=20, ge=1)
    rows: int = Field(default=6, ge=1)
    """Values in a band. 20 x 6 finds 99.8 % of pairs of Jaccard similarity .8; FineWeb's 14 x 8 finds 92 %."""
    threshold: float = Field(default=0.75, ge=0, le=1)
    """Candidates whose signatures agree in at least this share are near-duplicates (FineWeb aims at .75)."""

    @property
    def permutations(self) -> int:
        """Values in a signature."""
        return self.bands * self.rows


def signature(words: Words, config: MinHash) -> NDArray[np.uint32]:
    """[permutations] minima over the text's shingles; a text shorter than a shingle is one shingle as a whole."""
    shingles = words.ngrams(min(config.ngram, max(1, len(words.hashes))))
    points = (shingles >> np.uint64(32)).astype(np.uint32)
    factors, offsets = _functions(config.permutations)
    minima = np.full(config.permutations, np.iinfo(np.uint32).max, np.uint32)
    for start in range(0, len(points), _SLICE):
        values = factors[:, None] * points[start : start + _SLICE]
        values += offsets[:, None]
        np.minimum(minima, values.min(axis=1), out=minima)
    return minima


def band_keys(signatures: NDArray[np.uint32], config: MinHash) -> NDArray[np.uint64]:
    """[N, permutations] → [N, bands] keys; keys of different bands never meet but by chance of 2**-64."""
    rows = signatures.reshape(len(signatures), config.bands, config.rows).astype(np.uint64)
    keys = np.broadcast_to(np.arange(1, config.bands + 1, dtype=np.uint64), rows.shape[:2])
    for index in range(config.rows):
        keys = mix(keys + rows[:, :, index])
    return keys


def similarity(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> NDArray[np.float64]:
    """Share of equal values over the last axis: an estimate of the Jaccard similarity of the shingle sets."""
    return np.asarray(np.mean(one == other, axis=-1), np.float64)


@cache
def _functions(count: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Odd factors and offsets of the functions, from a counter."""
    bits = mix(np.arange(1, 2 * count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15))
    numbers = (bits >> np.uint64(32)).astype(np.uint32)
    return numbers[:count] | np.uint32(1), numbers[count:]
