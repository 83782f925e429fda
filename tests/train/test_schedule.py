from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.train.schedule import ScheduleConfig

shapes = st.sampled_from(["cosine", "constant_then_linear"])


@given(shapes, st.integers(0, 50), st.integers(51, 400), st.floats(0, 1), st.floats(0, 1))
def test_rises_to_1_never_rises_again_and_ends_at_the_final_fraction(
    shape: str, warmup: int, steps: int, final: float, hold: float
) -> None:
    config = ScheduleConfig.model_validate(
        {"shape": shape, "warmup_steps": warmup, "final_fraction": final, "hold_fraction": hold}
    )
    factors = [config.factor(step, steps) for step in range(steps)]
    assert factors[:warmup] == pytest.approx([(step + 1) / warmup for step in range(warmup)])
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(factors[warmup:]))
    assert max(factors) <= 1.0
    if not (shape == "constant_then_linear" and round(hold * steps) >= steps):
        assert factors[-1] == pytest.approx(final)


def test_cosine_is_half_way_down_in_the_middle() -> None:
    config = ScheduleConfig(shape="cosine", warmup_steps=100, final_fraction=0.1)
    assert config.factor(100 + 449, 1000) == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5)), abs=1e-3)


def test_constant_then_linear_holds_and_then_falls_in_equal_steps() -> None:
    config = ScheduleConfig(shape="constant_then_linear", warmup_steps=5, hold_fraction=0.6, final_fraction=0.02)
    factors = [config.factor(step, 100) for step in range(100)]
    assert factors[5:60] == [1.0] * 55
    assert {round(a - b, 9) for a, b in itertools.pairwise(factors[59:])} == {round(0.98 / 40, 9)}
