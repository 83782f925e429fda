"""Words and their hashes against a plain definition, character by character."""

from __future__ import annotations

import re
import tracemalloc
import unicodedata
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.text import characters
from mm1.curation.text.characters import (
    DIGIT,
    LETTER,
    PUNCTUATION,
    SPACE,
    SYMBOL,
    UNSPACED,
    classify,
    codes,
    hash_words,
    normalize,
)
from mm1.curation.text.words import plain_words

texts = st.text(
    st.one_of(st.sampled_from("aAbé É1٣_-. \n\t你好のไทยकि\u200c\u0301ßİ😀𠀀"), st.characters()), max_size=60
)


def _is_unspaced(character: str) -> bool:
    names = (
        "CJK UNIFIED",
        "CJK COMPAT",
        "HIRAGANA",
        "KATAKANA",
        "THAI CHARACTER",
        "LAO ",
        "MYANMAR",
        "KHMER",
        "TIBETAN",
    )
    name = unicodedata.name(character, "")
    return name.startswith(names) and unicodedata.category(character)[0] in "LM"


def _words(text: str) -> list[str]:
    words, open_ = [], False
    for character in unicodedata.normalize("NFC", text.lower()):
        if _is_unspaced(character):
            words.append(character)
            open_ = False
        elif unicodedata.category(character)[0] in "LMN" or character in "\u200c\u200d":
            words[-1:] = [words[-1] + character] if open_ else [*words[-1:], character]
            open_ = True
        else:
            open_ = False
    return words


@given(st.text(st.sampled_from("aAbé É1٣_-. \n\t你好のไทยकि\u200c\u0301ßİ😀"), max_size=60))
def test_words_are_runs_of_letters_marks_and_digits(text: str) -> None:
    assert plain_words(text) == _words(text)


@given(texts)
def test_hashes_tell_words_apart_and_nothing_else(text: str) -> None:
    words, hashed = plain_words(text), hash_words(text)
    assert len(set(words)) == len(set(hashed.hashes.tolist()))
    assert dict(zip(words, hashed.hashes.tolist(), strict=True)) == {
        word: int(hash_words(word).hashes[0]) for word in words
    }
    assert hashed.lengths.tolist() == [len(word) for word in words]
    assert hashed.classes.sum() == len(unicodedata.normalize("NFC", text.lower()))


@given(texts)
def test_letters_are_what_is_no_number(text: str) -> None:
    expected = [sum(unicodedata.category(c)[0] != "N" for c in word) for word in plain_words(text)]
    assert hash_words(text).letters.tolist() == expected


def test_hashes_are_the_same_everywhere() -> None:
    assert hash_words("The cat").hashes.tolist() == [11469020329213407588, 6049514579037760470]


def test_classes() -> None:
    text = " \n+.7aé你ก𠀀\U000e0041"
    expected = [SPACE, SPACE, SYMBOL, PUNCTUATION, DIGIT, LETTER, LETTER, UNSPACED, UNSPACED, UNSPACED, SYMBOL]
    assert classify(codes(text)).tolist() == expected


def test_lone_surrogates_are_no_words() -> None:
    assert len(hash_words("\ud800").hashes) == 0


def test_composed_and_decomposed_are_one_word() -> None:
    assert hash_words("é").hashes == hash_words("e\u0301").hashes


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 100])
def test_powers_beyond_the_table_are_those_of_a_table_that_holds_all(
    monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    text = ("one two3 é好 " * 10)[:length]
    whole = hash_words(text)
    monkeypatch.setattr(characters, "_power_table", lambda: _table(8))
    monkeypatch.setattr(characters, "_TABLE_POWERS", 8)
    pieced = hash_words(text)
    assert np.array_equal(whole.hashes, pieced.hashes)


def _table(length: int) -> np.ndarray:
    bases = (characters._MULTIPLIER, characters._INVERSE)
    return np.array([[pow(base, power, 1 << 64) for power in range(length)] for base in bases], np.uint64)


def test_a_long_text_leaves_nothing_in_memory() -> None:
    """Tables as long as the longest text would: memory grew with the input as longer and longer pages came."""
    hash_words("a short text")
    tracemalloc.start()
    try:
        hash_words("many words " * 50_000)
        assert tracemalloc.get_traced_memory()[0] < 100_000
    finally:
        tracemalloc.stop()


def test_long_texts_are_hashed_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "one two three  " * 40
    whole = hash_words(text)
    monkeypatch.setattr(characters, "_SLICE", 15)
    sliced = hash_words(text)
    assert np.array_equal(whole.hashes, sliced.hashes)
    assert np.array_equal(whole.letters, sliced.letters)
    assert np.array_equal(whole.classes, sliced.classes)


@given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 6))
def test_runs_of_words_have_equal_hashes_only_where_they_are_equal(words: list[str], n: int) -> None:
    runs = list(zip(*(words[start:] for start in range(n)), strict=False))
    hashes = hash_words(" ".join(words)).ngrams(n).tolist()
    assert len(hashes) == len(runs)
    assert len(set(hashes)) == len(set(runs)) == len(set(zip(hashes, runs, strict=True)))


@pytest.mark.parametrize(
    ("text", "unspaced"), [("hello you", False), ("你好 abc", False), ("你好吗 ab", True), ("", False)]
)
def test_unspaced_is_what_most_characters_are(text: str, unspaced: bool) -> None:
    assert hash_words(text).unspaced is unspaced


@given(texts, st.sampled_from(["NFC", "NFD"]))
def test_texts_with_few_marks_are_normalized_as_unicode_says(text: str, form: Literal["NFC", "NFD"]) -> None:
    assert normalize(form, text) == unicodedata.normalize(form, text)
    assert normalize(form, text + "a\u0323\u0301" * 40) == unicodedata.normalize(form, text + "a\u0323\u0301" * 40)


def test_marks_without_end_are_kept_apart_and_none_is_lost() -> None:
    for number in (30, 31, 60, 61, 1000):
        made = normalize("NFD", "xé" + "\u0301\u0323" * number + "b")
        assert max(map(len, re.findall("[\u0301\u0323]+", made))) <= 31
        assert made.replace("\u034f", "").count("\u0301") == number + 1


def test_a_text_of_nothing_but_marks_takes_no_minutes() -> None:
    """Unicode's own way would take the square of their number: an hour for this one."""
    for text in ("a" + "\u0301\u0323" * 1_000_000, "\u0323\u0301" * 1_000_000):
        assert hash_words(text).classes.sum() > 2_000_000
        assert len(plain_words(text)) == 1
