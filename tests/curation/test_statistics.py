"""Spreads are bounded, add up, and tell what they counted to half a bin."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.curation.statistics import MOST_NUMBER, MOST_WORDS, OTHER, Statistics, edges, quantile


def of(values):
    statistics = Statistics()
    for value in values:
        statistics.size("sizes", value)
        statistics.number("numbers", value)
        statistics.word("words", str(value % 7))
    return statistics


@given(st.lists(st.lists(st.integers(0, 10**9), max_size=20), max_size=5))
def test_parts_add_up_to_the_whole(parts):
    whole = of([value for part in parts for value in part])
    assert sum(map(of, parts), Statistics()).to_json() == whole.to_json()
    assert Statistics.from_json(json.loads(json.dumps(whole.to_json()))).to_json() == whole.to_json()


@given(st.integers(0, 10**12))
def test_a_size_lies_in_its_bin(value):
    ((place, _),) = of([value]).sizes["sizes"].items()
    low, high = edges(place)
    assert low * (1 - 1e-9) <= value < high * (1 + 1e-9)


def test_quantiles_are_those_of_the_values_to_five_percent():
    values = np.random.default_rng(0).lognormal(7, 2, 20_000)
    statistics = Statistics()
    for value in values:
        statistics.size("a", value)
    for share in (0.1, 0.5, 0.9):
        assert quantile(statistics.sizes["a"], share) == pytest.approx(np.quantile(values, share), rel=0.06)


def test_hostile_values_stay_bounded():
    statistics = Statistics()
    for number in range(2000):
        statistics.number("numbers", number)
        statistics.word("words", str(number))
    assert max(statistics.numbers["numbers"]) == MOST_NUMBER
    assert len(statistics.words["words"]) == MOST_WORDS + 1
    assert statistics.words["words"][OTHER] == 2000 - MOST_WORDS
