"""The measures are OBELICS's definitions, against plain loops that follow them word for word."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.function_words import FUNCTION_WORDS, share_of
from mm1.curation.obelics_measures import (
    character_repetition,
    punctuation,
    special_characters,
    word_repetition,
    words_of,
)

SHORT = st.text(alphabet="ab é.", max_size=60)


@settings(max_examples=200, deadline=None)
@given(text=st.one_of(SHORT, st.text(max_size=60)), n=st.integers(1, 10))
def test_character_repetition(text: str, n: int) -> None:
    counts = Counter(text[start : start + n] for start in range(len(text) - n + 1))
    if not counts:
        assert character_repetition(text, n) == 0
        return
    ordered = sorted(counts.values(), reverse=True)
    top = min(int(math.sqrt(len(ordered))), len(ordered) - ordered.count(1))
    assert character_repetition(text, n) == pytest.approx(sum(ordered[:top]) / sum(ordered))


@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.sampled_from("abc"), max_size=30), n=st.integers(1, 5))
def test_word_repetition(words: list[str], n: int) -> None:
    counts = Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))
    repeated = sum(count for count in counts.values() if count > 1)
    assert word_repetition(words, n) == pytest.approx(repeated / counts.total() if counts else 0)


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet="aZ9é -'\n\t.!(", max_size=60))
def test_words_are_between_spaces_without_what_is_no_letter_at_their_ends(text: str) -> None:
    tokens = [token.strip("".join(c for c in token if not c.isalpha())) for token in text.lower().split()]
    expected = []
    for token in text.lower().split():
        letters = [place for place, character in enumerate(token) if character.isalpha()]
        if letters:
            expected.append(token[letters[0] : letters[-1] + 1])
    assert words_of(text) == expected
    assert len(expected) <= len(tokens)


def test_words() -> None:
    assert words_of("She said: (don’t!) 2 times, in 2024") == ["she", "said", "don't", "times", "in"]


def test_special_characters() -> None:
    assert special_characters("ab 1.é☃") == pytest.approx(4 / 7)
    assert special_characters("") == 0


def test_punctuation() -> None:
    assert punctuation("It's here, now.") == pytest.approx(2 / 5)
    assert punctuation('"quoted" (and) so') == 0
    assert punctuation("few words", min_tokens=3) == 1
    assert punctuation("no fewer words", min_tokens=3) == 0
    assert punctuation("", min_tokens=0) == 0


def test_function_words() -> None:
    sentence = "The cat that had been asleep on the mat went out, for it was hungry and wanted to eat."
    assert share_of(words_of(sentence), FUNCTION_WORDS) > 0.5
    assert share_of(words_of("Nikon Canon Sony Leica Olympus cameras lenses tripods"), FUNCTION_WORDS) == 0
    assert share_of([], FUNCTION_WORDS) == 0
