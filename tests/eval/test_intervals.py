"""Bootstrap intervals: seeded, around the mean, and as wide as theory says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.eval.intervals import bootstrap_interval


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(0, 2**32))
def test_lies_within_the_scores_and_repeats_for_a_seed(scores: list[float], seed: int) -> None:
    low, high = bootstrap_interval(scores, seed, resamples=50)
    assert min(scores) - 1e-12 <= low <= high <= max(scores) + 1e-12
    assert (low, high) == bootstrap_interval(scores, seed, resamples=50)


def test_another_seed_gives_another_interval() -> None:
    scores = list(np.random.default_rng(0).random(30))
    assert bootstrap_interval(scores, 0) != bootstrap_interval(scores, 1)


def test_width_agrees_with_the_normal_approximation() -> None:
    scores = [float(x < 0.3) for x in np.random.default_rng(0).random(400)]
    mean = float(np.mean(scores))
    half = 1.96 * (mean * (1 - mean) / len(scores)) ** 0.5
    assert bootstrap_interval(scores, 0) == pytest.approx((mean - half, mean + half), abs=0.1 * half)


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    hits = 0
    for seed in range(200):
        low, high = bootstrap_interval(list(generator.random(60)), seed, resamples=200)
        hits += low <= 0.5 <= high
    assert 0.9 <= hits / 200 <= 0.99
