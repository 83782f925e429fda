"""What kind of character each code point is, and a text's words as 64-bit hashes: the ground of the other files here.

    words = hash_words("The cat, the dog")      # words.hashes[0] == words.hashes[2], words.lengths = [3, 3, 3, 3]

A word is a run of letters, marks and digits; case does not count. A character of a script that is written without
spaces (Han, kana, Thai, Lao, Khmer, Burmese, Tibetan) is a word of its own, so that "words" exist in every language.
All arithmetic is on unsigned integers that wrap, the same on every machine; only the Unicode tables of the Python at
hand are a dependency, and these never change what a character is once it has been assigned. Knows nothing of
languages.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

SPACE, SYMBOL, PUNCTUATION, DIGIT, LETTER, UNSPACED = range(6)
"""Classes of characters; from DIGIT on they make words."""

_UNSPACED_RANGES = (
    (0x0E00, 0x0F00),  # Thai, Lao
    (0x0F00, 0x10A0),  # Tibetan, Burmese
    (0x1780, 0x1800),  # Khmer
    (0x3005, 0x3008),  # marks of ideographs
    (0x3040, 0x3100),  # kana
    (0x31F0, 0x3200),
    (0x3400, 0x4DC0),  # Han
    (0x4E00, 0xA000),
    (0xF900, 0xFB00),
    (0xFF66, 0xFFA0),  # half-width kana
)
_JOINERS = (0x200C, 0x200D)
"""Invisible, and inside words of Persian and of the scripts of India."""

_TABLE_SIZE = 0x20000
"""Above it there are ideographs up to 0x40000, and nothing that makes words."""

_MOST_MARKS = 30
"""On one letter, in a row."""
_JOINER = "\u034f"

_MULTIPLIER = 0x9E3779B97F4A7C15
_INVERSE = pow(_MULTIPLIER, -1, 1 << 64)
_TABLE_POWERS = 1 << 14
"""Powers that are kept, 256 kB: most pages are shorter."""
_SLICE = 1 << 20
"""Characters hashed at once, which bounds the memory; a word across the border of two slices counts as two."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a text in order."""

    hashes: NDArray[np.uint64]
    """[W]; equal words have equal hashes, whatever their case."""
    lengths: NDArray[np.int64]
    """[W], in characters."""
    letters: NDArray[np.int64]
    """[W], how many of these are no digits."""
    classes: NDArray[np.int64]
    """[6] characters of the text by class, SPACE … UNSPACED."""

    def ngrams(self, n: int) -> NDArray[np.uint64]:
        """[max(0, W - n + 1)] hashes of the runs of n words, for n from 1."""
        count = max(0, len(self.hashes) - n + 1)
        total = self.hashes[:count]
        for index in range(1, n):
            total = total * np.uint64(_MULTIPLIER) + self.hashes[index : index + count]
        return mix(total)

    @property
    def unspaced(self) -> bool:
        """Whether most of what makes words is in scripts written without spaces, where a word is a character."""
        return bool(2 * self.classes[UNSPACED] > self.classes[DIGIT:].sum())


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """A bijection of 64-bit integers whose every output bit depends on every input bit (splitmix64's finaliser)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def codes(text: str) -> NDArray[np.uint32]:
    """The code points of a text, lone surrogates included."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint32, copy=False)


def without_surrogates(text: str) -> str:
    """The text with ? for each lone surrogate, which no library outside Python takes."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def classify(points: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The class of each code point: SPACE … UNSPACED."""
    table = _class_table()
    if len(points) == 0 or points.max() < _TABLE_SIZE:
        return table[points]
    classes = table[np.minimum(points, _TABLE_SIZE - 1)]
    classes[points >= _TABLE_SIZE] = SYMBOL
    classes[(points >= _TABLE_SIZE) & (points < 0x40000)] = UNSPACED
    return classes


def normalize(form: Literal["NFC", "NFD"], text: str) -> str:
    """The text in a normal form of Unicode, in time that goes with its length.

    Sorting the marks on one letter takes the square of their number, minutes for a page that is nothing else. So after
    each 30 of them comes a joiner that keeps the next apart, as UAX #15, section 13 ("Stream-Safe Text Format") says.
    """
    if text.isascii():
        return text
    points = codes(text)
    marks = _mark_table()[np.minimum(points, _TABLE_SIZE - 1)]
    if np.count_nonzero(marks) > _MOST_MARKS:
        places = np.arange(len(points))
        before = places - np.maximum.accumulate(np.where(marks, -1, places))  # marks in a row that end here
        cuts = np.flatnonzero((before > _MOST_MARKS) & (before % _MOST_MARKS == 1)).tolist()
        text = _JOINER.join(text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True))
    return unicodedata.normalize(form, text)


@cache
def _mark_table() -> NDArray[np.bool_]:
    return np.array([unicodedata.combining(chr(point)) > 0 for point in range(_TABLE_SIZE)])


def hash_words(text: str) -> Words:
    """The words of a text; "é" is one word however it is composed."""
    lowered = normalize("NFC", text.lower())
    slices = [lowered[start : start + _SLICE] for start in range(0, max(1, len(lowered)), _SLICE)]
    parts = [_words_of(points, classify(points)) for points in map(codes, slices)]
    if len(parts) == 1:
        return parts[0]
    return Words(
        hashes=np.concatenate([part.hashes for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        letters=np.concatenate([part.letters for part in parts]),
        classes=np.sum([part.classes for part in parts], axis=0),
    )


def _words_of(points: NDArray[np.uint32], classes: NDArray[np.uint8]) -> Words:
    starts, ends = word_borders(classes)
    powers, inverses = _powers(len(points))
    sums = np.zeros(len(points) + 1, np.uint64)
    np.cumsum(points * powers, out=sums[1:])
    letters = np.zeros(len(points) + 1, np.int64)
    np.cumsum(classes >= LETTER, out=letters[1:])
    return Words(
        hashes=mix((sums[ends] - sums[starts]) * inverses[starts]),
        lengths=ends - starts,
        letters=letters[ends] - letters[starts],
        classes=np.bincount(classes, minlength=UNSPACED + 1),
    )


def word_borders(classes: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where words start and where they end (exclusive), by the classes of the characters."""
    kinds = np.zeros(len(classes) + 2, np.uint8)
    kinds[1:-1] = np.maximum(classes, DIGIT - 1)
    kinds[kinds == LETTER] = DIGIT
    inside = kinds >= DIGIT
    changes = (kinds[1:] != kinds[:-1]) | (kinds[1:] == UNSPACED)
    starts = np.flatnonzero(changes[:-1] & inside[1:-1])
    following = (kinds[1:] != kinds[:-1]) | (kinds[:-1] == UNSPACED)
    return starts, np.flatnonzero(following[1:] & inside[1:-1]) + 1


@cache
def _class_table() -> NDArray[np.uint8]:
    table = np.array([_class_of(unicodedata.category(chr(point))) for point in range(_TABLE_SIZE)], np.uint8)
    for start, end in _UNSPACED_RANGES:
        piece = table[start:end]
        piece[piece == LETTER] = UNSPACED
    table[list(_JOINERS)] = LETTER
    return table


def _class_of(category: str) -> int:
    if category[0] in "LM":
        return LETTER
    if category[0] == "N":
        return DIGIT
    if category[0] == "P":
        return PUNCTUATION
    return SPACE if category[0] in "ZC" else SYMBOL


def _powers(length: int) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Powers 0 … length - 1 of the multiplier and of its inverse.

    Those beyond the table are products of two: tables as long as the longest text would stay in memory for ever.
    """
    table = _power_table()
    if length <= _TABLE_POWERS:
        return table[0, :length], table[1, :length]
    steps = np.ones((2, -(-length // _TABLE_POWERS)), np.uint64)
    steps[:, 1:] = table[:, -1:] * table[:, 1:2]  # the power of a whole table
    np.cumprod(steps, axis=1, out=steps)
    powers = (steps[:, :, None] * table[:, None, :]).reshape(2, -1)
    return powers[0, :length], powers[1, :length]


@cache
def _power_table() -> NDArray[np.uint64]:
    """[2, _TABLE_POWERS]"""
    table = np.ones((2, _TABLE_POWERS), np.uint64)
    table[0, 1:], table[1, 1:] = _MULTIPLIER, _INVERSE
    return np.cumprod(table, axis=1)
