"""Word lists are usable as they are looked up."""

from __future__ import annotations

import pytest

from mm1.curation.function_words import share_of
from mm1.curation.text.words import FLAGGED_WORDS, STOP_WORDS, plain_words

LISTS = [("stop", key, words) for key, words in STOP_WORDS.items()]
LISTS += [("flagged", key, words) for key, words in FLAGGED_WORDS.items()]


@pytest.mark.parametrize(("kind", "language", "words"), LISTS)
def test_every_listed_word_is_one_word_in_lower_case(kind: str, language: str, words: frozenset[str]) -> None:
    del kind, language
    for word in words:
        assert plain_words(word) == [word] or plain_words(word) == list(word)


def test_the_eight_words_of_gopher_are_among_the_english() -> None:
    assert {"the", "be", "to", "of", "and", "that", "have", "with"} <= STOP_WORDS["en"]


def test_words_are_compared_whole() -> None:
    text = "Scunthorpe, Penistone, Essex, Cockburn: assessment of classic cocktails, Dickens, shiitake"
    assert share_of(plain_words(text), FLAGGED_WORDS["en"]) == 0
    assert share_of(plain_words("Shit happens"), FLAGGED_WORDS["en"]) == 0.5
