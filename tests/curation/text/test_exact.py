"""Which texts and paragraphs have one key."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mm1.curation.text.characters import hash_words
from mm1.curation.text.exact import keep_paragraphs, paragraph_keys, text_hash


def _hash(text: str) -> int:
    return text_hash(hash_words(text))


@pytest.mark.parametrize("other", ["hello world", "Hello,  World!", "«hello»\n\nWORLD", "hello-world"])
def test_case_spaces_and_punctuation_do_not_tell_texts_apart(other: str) -> None:
    assert _hash("Hello World") == _hash(other)


@pytest.mark.parametrize(
    "other", ["hello worlds", "world hello", "helloworld", "hello", "hello world 1", "héllo world"]
)
def test_words_their_order_numbers_and_accents_do(other: str) -> None:
    assert _hash("hello world") != _hash(other)


def test_keys_are_the_first_eight_bytes_of_a_sha1() -> None:
    hashes = hash_words("The cat").hashes
    digest = hashlib.sha1(b"".join(int(value).to_bytes(8, "little") for value in hashes)).digest()
    assert _hash("the cat") == int.from_bytes(digest[:8], "big") == 7561769965364212665


def test_paragraphs_are_one_whatever_their_digits_and_accents() -> None:
    one, other, third, fourth = paragraph_keys("Page 3 of 12\n\npage 7 óf 45.\n\nPage 3 of 123\n\nन कि")
    assert one == other
    assert one != third
    assert fourth not in (one, third)


def test_a_domain_has_its_own_keys() -> None:
    text = "Follow us\n\nfollow us!"
    anywhere, here, there = paragraph_keys(text), paragraph_keys(text, "a.org"), paragraph_keys(text, "b.org")
    assert len({*anywhere.tolist(), *here.tolist(), *there.tolist()}) == 3
    assert anywhere.dtype == here.dtype == np.uint64


def test_paragraphs_that_stay_keep_their_order() -> None:
    text = "a\n\nb\n\nc"
    assert keep_paragraphs(text, np.array([True, False, True])) == "a\n\nc"
    assert keep_paragraphs(text, np.array([False] * 3)) == ""
    with pytest.raises(ValueError, match="shorter"):
        keep_paragraphs(text, np.array([True]))
