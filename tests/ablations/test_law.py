"""The learning-rate law against the values that MM1's paper prints."""

import pytest

from mm1.ablations.law import learning_rate


@pytest.mark.parametrize(
    ("num_parameters", "printed"), [(1.2e9, 8.6e-5), (2.9e9, 5.9e-5), (6.4e9, 4.2e-5), (30e9, 2.2e-5)]
)
def test_the_law_gives_what_the_paper_prints_to_two_digits(num_parameters, printed):
    assert float(f"{learning_rate(num_parameters):.1e}") == printed


@pytest.mark.parametrize(("num_parameters", "rate"), [(9e6, 6.75e-4), (85e6, 2.62e-4), (302e6, 1.54e-4)])
def test_the_sizes_of_the_grid(num_parameters, rate):
    assert float(f"{learning_rate(num_parameters):.2e}") == rate
