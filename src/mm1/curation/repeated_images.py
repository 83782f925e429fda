"""Of several pairs with one image, which stays: the image stored twice, re-encoded, or in another size.

    buckets: pairs that share an MD5, or a key of bands.py    (a grouping, by whatever engine)
    repeated(bucket, max_distance)                            → ids of pairs to drop

What is dropped is what any bucket drops: a pure function of the set, however it is cut and ordered. Knows nothing of
how buckets are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from mm1.curation.text.words import plain_words
from mm1.data.perceptual import Look, alike


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is asked of a pair: a narrow row, without the image's bytes."""

    id: str
    """Of the pair, unique in the set."""
    text: str
    num_pixels: int
    md5: bytes
    look: Look


def rank(candidate: Candidate) -> tuple[int, int, str]:
    """The pair with the least stays: the largest picture, then the most words, then the first id."""
    return -candidate.num_pixels, -len(plain_words(candidate.text)), candidate.id


def repeated(bucket: Iterable[Candidate], max_distance: int) -> list[str]:
    """The ids of the pairs whose image is that of a better pair which the bucket keeps, best first.

    One image: the same bytes; or at most `max_distance` of 64 bits apart and alike in colour (data/perceptual.py).
    """
    kept: list[Candidate] = []
    hashes = np.empty(64, np.uint64)
    dropped = []
    for candidate in sorted(bucket, key=rank):
        apart = np.bitwise_count(hashes[: len(kept)] ^ np.uint64(candidate.look.hash))
        near = (kept[place] for place in np.flatnonzero(apart <= max_distance))
        if any(candidate.md5 == other.md5 or alike(candidate.look, other.look) for other in near):
            dropped.append(candidate.id)
            continue
        if len(kept) == len(hashes):
            hashes = np.concatenate([hashes, np.empty_like(hashes)])
        hashes[len(kept)] = candidate.look.hash
        kept.append(candidate)
    return dropped
