"""How sure a mean is: seeded bootstrap intervals over items.

    bootstrap_interval([0, 1, 1, 0, 1, 1], seed=0)    # (0.33…, 1.0) around the mean 0.66…

Knows nothing of what the numbers measure.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def bootstrap_interval(
    scores: Sequence[float], seed: int, level: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """The percentile bootstrap interval of the mean of `scores`: (low, high), the same for the same seed.

    Where all scores are equal the interval is that one value: read it together with n.
    """
    assert scores, "an interval needs at least one score"
    values = np.asarray(scores, dtype=np.float64)
    generator = np.random.default_rng(seed)
    # One resample at a time: a (resamples, n) index array would take gigabytes for the largest benchmarks.
    means = [values[generator.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
