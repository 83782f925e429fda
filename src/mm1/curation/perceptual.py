"""Perceptual hashes: 64 bits that stay nearly the same when a picture is scaled, recompressed or a little changed.

    phash = perceptual_hash(pixels)              # (32, 32) grey values
    near(phash, other, distance=4)               # at most 4 of 64 bits differ
    set(bands(phash, 4)) & set(bands(other, 4))  # never empty if near(phash, other, 4)

The hash is the signs of the lowest 8 x 8 frequencies of the cosine transform against their median, as in pHash
(Zauner 2010): coarse light and dark, no colour, no detail. `bands` turns the search for near hashes into equality of
keys, which any engine can group by. Knows nothing of image files.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

GREY_SIDE = 32
"""Pixels of a side of what is hashed."""
_FREQUENCIES = 8
BITS = _FREQUENCIES**2
_FAINT = 1e-6
"""Of a coefficient: what is smaller is rounding, as in a picture of one colour."""


def _cosines() -> np.ndarray:
    """(frequencies, pixels): the lowest rows of the orthonormal cosine transform (DCT-II)."""
    angles = np.pi / GREY_SIDE * (np.arange(GREY_SIDE) + 0.5) * np.arange(_FREQUENCIES)[:, None]
    rows: np.ndarray = np.cos(angles) * np.sqrt(2 / GREY_SIDE)
    rows[0] /= np.sqrt(2)
    return rows


_COSINES = _cosines()


def perceptual_hash(pixels: np.ndarray) -> int:
    """The 64-bit hash of (32, 32) grey values of any range; bit 63 is the mean, the last the highest frequencies."""
    coefficients = (_COSINES @ pixels.astype(np.float64) @ _COSINES.T).ravel()
    coefficients[np.abs(coefficients) < _FAINT] = 0
    return int.from_bytes(np.packbits(coefficients > np.median(coefficients)).tobytes(), "big")


def distance(a: int, b: int) -> int:
    """In how many bits two hashes differ."""
    return (a ^ b).bit_count()


def near(a: int, b: int, most: int) -> bool:
    """Whether at most `most` bits differ."""
    return (a ^ b).bit_count() <= most


def bands(phash: int, most: int, spare: int = 1) -> list[int]:
    """Keys of a hash such that two hashes which differ in at most `most` bits share at least one of them.

    The hash is cut into `most + spare` blocks, of which at least `spare` are untouched by `most` changed bits; each
    choice of `spare` blocks is a key. A larger `spare` gives more and longer keys, which fewer strangers share: with
    most = 4, spare 1 gives 5 keys of 13 bits, spare 2 gives 15 keys of 21 bits, spare 3 gives 35 keys of 27 bits.
    Keys of different choices are told apart by the choice's number, which is their first bits.
    """
    blocks = most + spare
    assert 0 <= most and 1 <= spare and blocks <= BITS
    edges = [BITS * block // blocks for block in range(blocks + 1)]
    keys = []
    for number, chosen in enumerate(combinations(range(blocks), spare)):
        key = number
        for block in chosen:
            width = edges[block + 1] - edges[block]
            key = key << width | phash >> edges[block] & ((1 << width) - 1)
        keys.append(key)
    return keys
