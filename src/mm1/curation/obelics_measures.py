"""What the OBELICS rules measure of a text, as its authors define it (huggingface/OBELICS, BigScience before it).

    words_of("She said: (don't!) 2 times")      # ["she", "said", "don't", "times"]
    character_repetition(text, 10)              # 0.04 of an article, 0.5 of a menu that was pasted twice

Differences: a character is special if Unicode says that it is no letter or mark, where OBELICS has a list (ASCII
punctuation, digits, white space, some hundred symbols, emoji) of nearly the same ones. For languages that put spaces
between words. Knows no thresholds.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mm1.curation.text.characters import LETTER, classify, codes

PUNCTUATION = frozenset(",;:?!.")
"""What counts as punctuation; other marks do not."""
_WORD = re.compile(r"[^\W\d_](?:\S*[^\W\d_])?")
"""Of what stands between spaces, from its first letter to its last."""
_TOKEN = re.compile(r"[\w']+|[,;:?!.]")
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def words_of(text: str) -> list[str]:
    """What stands between spaces, in lower case and without what is no letter at its ends; "2024" is no word."""
    return _WORD.findall(text.lower().replace("’", "'"))


def character_repetition(text: str, n: int) -> float:
    """The share of the text's runs of n characters that are its commonest ones.

    Of the D different runs the int(sqrt(D)) commonest count, but only such as come more than once: a long text has some
    repeated runs by nature, a repetitive one has them among its commonest.
    """
    counts = _counts(_ngrams(codes(text).astype(np.uint64), n))
    if len(counts) == 0:
        return 0.0
    top = min(int(np.sqrt(len(counts))), int(np.count_nonzero(counts > 1)))
    return float(np.sort(counts)[len(counts) - top :].sum() / counts.sum())


def word_repetition(words: Sequence[str], n: int) -> float:
    """The share of the runs of n words that come more than once; each occurrence counts, the first as well."""
    counts = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    total = counts.total()
    return sum(count for count in counts.values() if count > 1) / total if total else 0.0


def special_characters(text: str) -> float:
    """The share of the text's characters that are no letters: spaces, digits, punctuation, symbols; about a fifth."""
    if not text:
        return 0.0
    return float(np.count_nonzero(classify(codes(text)) < LETTER) / len(text))


def punctuation(text: str, min_tokens: int = 0) -> float:
    """The share of punctuation among words and punctuation marks; 1 for a text of fewer than `min_tokens` of them."""
    tokens = _TOKEN.findall(text)
    if len(tokens) < min_tokens:
        return 1.0
    return sum(token in PUNCTUATION for token in tokens) / len(tokens) if tokens else 0.0


def _ngrams(values: np.ndarray, n: int) -> np.ndarray:
    """(max(0, len - n + 1),) uint64 hashes of the runs of n values, which are told apart and no more: unmixed."""
    total = np.zeros(max(0, len(values) - n + 1), np.uint64)
    for start in range(n):
        total *= _MULTIPLIER
        total += values[start : start + len(total)]
    return total


def _counts(values: np.ndarray) -> np.ndarray:
    """How often each different value comes."""
    return np.unique(values, return_counts=True)[1]
