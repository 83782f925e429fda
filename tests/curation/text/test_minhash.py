"""Signatures against the Jaccard similarity that they stand for, and near-duplicates that were planted."""

from __future__ import annotations

import random

import numpy as np
import pytest

from mm1.curation.text import minhash
from mm1.curation.text.characters import hash_words
from mm1.curation.text.minhash import MinHash, band_keys, signature, similarity

WORDS = [f"w{number}" for number in range(5000)]


def jaccard(one: list[str], other: list[str], n: int) -> float:
    first, second = (set(zip(*(words[start:] for start in range(n)), strict=False)) for words in (one, other))
    return len(first & second) / len(first | second)


def edited(words: list[str], edits: int, draw: random.Random) -> list[str]:
    words = list(words)
    for _ in range(edits):
        place = draw.randrange(len(words))
        words[place : place + draw.randrange(2)] = draw.choices(WORDS, k=draw.randrange(2))
    return words


def _sign(words: list[str], config: MinHash) -> np.ndarray:
    return signature(hash_words(" ".join(words)), config)


def test_agreement_estimates_jaccard_similarity_without_bias() -> None:
    draw, config = random.Random(0), MinHash(bands=64, rows=4)
    errors, expected = [], []
    for _ in range(150):
        one = draw.choices(WORDS, k=draw.randint(50, 200))
        other = edited(one, draw.randint(0, 20), draw)
        likeness = jaccard(one, other, 5)
        errors.append(similarity(_sign(one, config), _sign(other, config)) - likeness)
        expected.append(likeness * (1 - likeness) / config.permutations)
    assert abs(np.mean(errors)) < 3 * np.sqrt(np.mean(expected) / len(errors))
    assert np.mean(np.square(errors)) < 1.4 * np.mean(expected)  # as if each value were drawn by itself


def test_signatures_are_the_same_everywhere() -> None:
    words = hash_words("one two three four five six seven")
    found = signature(words, MinHash())
    assert found.dtype == np.uint32
    assert found[:3].tolist() == [101767660, 311076319, 266776178]
    assert band_keys(found[None], MinHash())[0, :2].tolist() == [3157421365190326616, 6907908387652052350]


def test_a_signature_is_of_the_set_of_runs() -> None:
    config = MinHash(ngram=2)
    assert np.array_equal(_sign(list("abab"), config), _sign(list("ababab"), config))
    assert not np.array_equal(_sign(list("abab"), config), _sign(list("abac"), config))


@pytest.mark.parametrize("count", [0, 1, 4])
def test_texts_shorter_than_a_run_have_signatures(count: int) -> None:
    one, other = _sign(WORDS[:count], MinHash()), _sign(WORDS[1 : count + 1], MinHash())
    assert one.shape == (120,)
    assert np.array_equal(one, other) == (count == 0)


def test_long_texts_are_signed_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _sign(WORDS, MinHash())
    monkeypatch.setattr(minhash, "_SLICE", 100)
    assert np.array_equal(whole, _sign(WORDS, MinHash()))


@pytest.mark.parametrize("config", [MinHash(), MinHash(bands=3, rows=2), MinHash(bands=10, rows=1)])
def test_a_key_is_shared_where_a_whole_band_is(config: MinHash) -> None:
    signatures = np.arange(2 * config.permutations, dtype=np.uint32).reshape(2, -1)
    signatures[1, config.rows : 2 * config.rows] = signatures[0, config.rows : 2 * config.rows]
    keys = band_keys(signatures, config)
    assert keys.shape == (2, config.bands)
    assert np.flatnonzero(keys[0] == keys[1]).tolist() == [1]


def test_keys_of_different_bands_never_meet() -> None:
    keys = band_keys(np.zeros((1, MinHash().permutations), np.uint32), MinHash())
    assert len(np.unique(keys)) == MinHash().bands
