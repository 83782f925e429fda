"""Near hashes found by equal keys, so that any engine that groups can find them among very many.

    keys = bands(hashes, distance=6)         # (N,) uint64 → (N, 28) uint64
    set(keys[a]) & set(keys[b])              # never empty where data/perceptual.py's distance(a, b) <= 6

By the pigeonhole: cut 64 bits into more blocks than bits may differ, and some blocks stay whole. Hashes that share a
key are candidates; whether they are near, or alike, is then asked of each two. Knows nothing of pictures.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np

from mm1.curation.text.characters import mix

BITS = 64


def bands(hashes: np.ndarray, distance: int, spare: int = 2) -> np.ndarray:
    """(N, K) uint64 keys of (N,) uint64 hashes: two that differ in at most `distance` bits share at least one.

    The bits are cut into `distance + spare` blocks, of which at least `spare` are untouched by `distance` changed bits;
    each choice of `spare` blocks makes a key. A larger `spare` gives more keys of more bits, which fewer strangers
    share: at a distance of 6, spare 1 gives 7 keys of 9 bits, spare 2 gives 28 of 16 bits, spare 3 gives 84 of 21 bits.
    The same blocks are in the same column; keys of different columns are different but for chance.
    """
    blocks = distance + spare
    assert distance >= 0
    assert spare >= 1
    assert blocks <= BITS
    edges = [BITS * block // blocks for block in range(blocks + 1)]
    masks = [(1 << end) - (1 << start) for start, end in pairwise(edges)]
    chosen = np.array([sum(choice) for choice in combinations(masks, spare)], np.uint64)
    columns = np.arange(1, len(chosen) + 1, dtype=np.uint64)
    return mix((np.asarray(hashes, np.uint64)[:, None] & chosen) ^ mix(columns))
