"""How much of a text says again what it said before: the shares of MassiveText (Gopher).

    repeated_lines(["a", "b", "a"])          # (1/3 of the lines, 1/3 of their characters)
    top_ngram_share(words, 2)                # of the characters, those in the commonest pair of words
    repeated_ngram_share(words, 5)           # of the characters, those in five words in a row that were there before

After Rae et al. 2021 (arXiv 2112.11446), appendix A.1.1; the first occurrence counts as no repetition. Knows nothing of
how much is too much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mm1.curation.text.characters import Words


def repeated_lines(lines: Sequence[str]) -> tuple[float, float]:
    """The share of lines that were there before, and the share of characters in them."""
    seen = set(lines)
    if len(seen) == len(lines):
        return 0.0, 0.0
    total = sum(map(len, lines))
    repeated = total - sum(map(len, seen))
    return 1 - len(seen) / len(lines), repeated / total if total else 0.0


def top_ngram_share(words: Words, n: int) -> float:
    """The share of the words' characters that lie in the commonest run of n words; 0 where none comes twice.

    Of equally common runs the longest counts. May exceed 1 where a run overlaps itself.
    """
    ngrams = words.ngrams(n)
    ordered = np.sort(ngrams)
    starts = _run_starts(ordered)
    if len(starts) == len(ordered):
        return 0.0
    counts = np.diff(starts, append=len(ordered))
    most = counts.max()
    common = ordered[starts[counts == most]]
    places = np.flatnonzero(ngrams == common[0] if len(common) == 1 else np.isin(ngrams, common))
    ends = np.cumsum(words.lengths)
    longest = (ends[places + n - 1] - ends[places] + words.lengths[places]).max()
    return float(most * longest / ends[-1])


def repeated_ngram_share(words: Words, n: int) -> float:
    """The share of the words' characters that lie in a run of n words which was there before; each counts once."""
    ngrams = words.ngrams(n)
    if len(_run_starts(np.sort(ngrams))) == len(ngrams):
        return 0.0
    order = np.argsort(ngrams, kind="stable")
    repeats = np.ones(len(ngrams), bool)
    repeats[order[_run_starts(ngrams[order])]] = False
    edges = np.zeros(len(words.lengths) + 1, np.int64)
    positions = np.flatnonzero(repeats)
    edges[positions] += 1
    edges[positions + n] -= 1
    covered = np.cumsum(edges[:-1]) > 0
    return float(words.lengths[covered].sum() / words.lengths.sum())


def _run_starts(ordered: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where the runs of equal values start in a sorted array."""
    fresh = np.ones(len(ordered), bool)
    fresh[1:] = ordered[1:] != ordered[:-1]
    return np.flatnonzero(fresh)
