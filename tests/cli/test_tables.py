"""What numbers look like."""

import pytest

from mm1.cli.tables import rounded


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (999.5, "1 K"), (999_499, "999 K"), (999_500, "1 M"), (2_847_300_000, "2.85 B"),
     (3e18, "3 E"), (2e21, "2e+03 E")],
)  # fmt: skip
def test_a_number_has_three_digits_and_the_unit_of_what_it_is_rounded_to(number: float, shown: str) -> None:
    assert rounded(number) == shown
