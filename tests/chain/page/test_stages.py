"""Curves of a stage."""

from __future__ import annotations

import math

import numpy as np

from mm1.chain.page.stages import smooth


def test_smoothing_keeps_a_constant_a_gap_and_a_short_line() -> None:
    assert smooth([1.0, 5.0, 2.0]) == [1.0, 5.0, 2.0]
    level = np.full(300, 2.0)
    level[150] = np.nan
    smoothed = smooth(list(level))
    assert math.isnan(smoothed[150])
    assert np.allclose(np.delete(smoothed, 150), 2.0)
