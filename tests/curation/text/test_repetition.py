"""Shares of repetition against their definitions, written out."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.text.characters import hash_words
from mm1.curation.text.repetition import repeated_lines, repeated_ngram_share, top_ngram_share

words = st.lists(st.sampled_from(["a", "bb", "ccc", "dddd"]), max_size=40)


@given(words, st.integers(1, 5))
def test_top_share_is_of_the_commonest_run(words: list[str], n: int) -> None:
    runs = Counter(zip(*(words[start:] for start in range(n)), strict=False))
    most = max(runs.values(), default=0)
    longest = max((len("".join(run)) for run, count in runs.items() if count == most), default=0)
    expected = most * longest / len("".join(words)) if most > 1 else 0
    assert top_ngram_share(hash_words(" ".join(words)), n) == pytest.approx(expected)


@given(words, st.integers(1, 5))
def test_repeated_share_is_of_characters_in_runs_that_were_there_before(words: list[str], n: int) -> None:
    seen, covered = set(), set()
    for place in range(len(words) - n + 1):
        run = tuple(words[place : place + n])
        if run in seen:
            covered.update(range(place, place + n))
        seen.add(run)
    expected = sum(len(words[place]) for place in covered) / len("".join(words)) if covered else 0
    assert repeated_ngram_share(hash_words(" ".join(words)), n) == pytest.approx(expected)


def test_lines_repeat_from_their_second_time_on() -> None:
    assert repeated_lines(["aa", "b", "aa", "aa", "c"]) == (pytest.approx(2 / 5), pytest.approx(4 / 8))
    assert repeated_lines(["aa", "b"]) == (0, 0)
    assert repeated_lines([]) == (0, 0)
    assert repeated_lines(["", ""]) == (0.5, 0)
