"""Lengths by formula: the same however they are asked for, and distributed as they were meant to be."""

from __future__ import annotations

import numpy as np
import pytest

from mm1.bench.simulated import SimulatedSource
from mm1.data.encode import IMAGE_LENGTH
from mm1.data.sources import sum_lengths, sum_targets


@pytest.mark.parametrize("images", [(0, 0), (1, 1), (0, 5)])
def test_simulated_lengths_agree_however_they_are_asked_for(images):
    source = SimulatedSource("s", 10**9, median_tokens=30, spread=0.7, images=images)
    indices = np.array([0, 17, 10**9 - 1, 5])
    rows = [source.segment_lengths(index) for index in indices.tolist()]
    flat = [length for row in rows for length in row]
    bounds = np.cumsum([0, *map(len, rows)])
    for mine, expected in zip(source.totals(indices), sum_lengths(np.array(flat), bounds), strict=True):
        assert mine.tolist() == expected.tolist()
    targets = np.array([length != IMAGE_LENGTH for length in flat])
    for mine, expected in zip(source.target_tokens(indices), sum_targets(np.array(flat), targets, bounds), strict=True):
        assert mine.tolist() == expected.tolist()


def test_simulated_lengths_have_the_distribution_asked_for():
    text, images = SimulatedSource("s", 10**9, 100, 0.5, (2, 4)).totals(np.arange(20_000))
    assert np.median(text) == pytest.approx(100, rel=0.03)
    assert np.log(text).std() == pytest.approx(0.5, rel=0.03)
    assert np.bincount(images)[2:] == pytest.approx([20_000 / 3] * 3, rel=0.05)
