"""How things are spread: sizes on a logarithmic scale, small whole numbers, words. Bounded, and parts add up.

    statistics.size("characters a page", 1834)     # into one of eight bins an octave
    statistics.number("images a document", 3)
    statistics.word("language", "en")

Knows nothing of what is counted.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BINS_AN_OCTAVE = 8
MOST_NUMBER = 1_000
"""Larger whole numbers count as this one."""
MOST_WORDS = 500
"""Different words counted under one name; further ones count as OTHER."""
OTHER = "(other)"


@dataclass(slots=True)
class Statistics:
    """Distributions by name; a name is also what a reader is told."""

    sizes: dict[str, Counter[int]] = field(default_factory=dict)
    """By bin b: values from 2 ** (b / 8) to 2 ** ((b + 1) / 8); zero and less in the bin -1."""
    numbers: dict[str, Counter[int]] = field(default_factory=dict)
    words: dict[str, Counter[str]] = field(default_factory=dict)

    def size(self, name: str, value: float) -> None:
        """Counts a value that may be of any magnitude."""
        place = -1 if value < 1 else math.floor(BINS_AN_OCTAVE * math.log2(value) + 1e-9)
        self.sizes.setdefault(name, Counter())[place] += 1

    def number(self, name: str, value: int) -> None:
        """Counts a small whole number."""
        self.numbers.setdefault(name, Counter())[min(value, MOST_NUMBER)] += 1

    def word(self, name: str, value: str) -> None:
        """Counts one of a few words."""
        counter = self.words.setdefault(name, Counter())
        counter[value if value in counter or len(counter) < MOST_WORDS else OTHER] += 1

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            {name: _of(self.sizes, name) + _of(other.sizes, name) for name in _names(self.sizes, other.sizes)},
            {name: _of(self.numbers, name) + _of(other.numbers, name) for name in _names(self.numbers, other.numbers)},
            {name: _of(self.words, name) + _of(other.words, name) for name in _names(self.words, other.words)},
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, sorted."""
        return {
            "sizes": {name: sorted(map(list, counter.items())) for name, counter in self.sizes.items()},
            "numbers": {name: sorted(map(list, counter.items())) for name, counter in self.numbers.items()},
            "words": {name: sorted(map(list, counter.items())) for name, counter in self.words.items()},
        }

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Statistics:
        """What `to_json` gave."""
        sizes, numbers, words = (
            {name: Counter(dict(pairs)) for name, pairs in value[kind].items()}
            for kind in ("sizes", "numbers", "words")
        )
        return Statistics(sizes, numbers, words)


def _of(counters: Mapping[str, Counter[Any]], name: str) -> Counter[Any]:
    return counters.get(name, Counter())


def _names(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """In the order in which they were first seen."""
    return list(dict.fromkeys([*one, *other]))


def edges(place: int) -> tuple[float, float]:
    """Between which values the sizes of a bin lie."""
    return (0.0, 1.0) if place < 0 else (2 ** (place / BINS_AN_OCTAVE), 2 ** ((place + 1) / BINS_AN_OCTAVE))


def quantile(counter: Mapping[int, int], share: float) -> float:
    """The value below which `share` of a name's sizes lie, to half a bin (5 %)."""
    wanted, passed = share * sum(counter.values()), 0
    for place in sorted(counter):
        passed += counter[place]
        if passed >= wanted:
            low, high = edges(place)
            return math.sqrt(low * high)
    return math.nan
