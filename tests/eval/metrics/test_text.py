"""Short-answer metrics against the public packages."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.eval.metrics.text import anls, exact_match, relaxed_match

TRUTH = Path(__file__).parents[1] / "truth"


def test_anls_equals_the_package() -> None:
    for case in json.loads((TRUTH / "anls.json").read_text()):
        assert anls(case["pred"], [case["gold"]]) == pytest.approx(case["anls_pkg"], abs=1e-12), case


def test_relaxed_accuracy_equals_both_harnesses() -> None:
    for target, prediction, right in json.loads((TRUTH / "relaxed.json").read_text()):
        assert relaxed_match(prediction, target) == right, (target, prediction)


@given(st.text(alphabet="abc ", max_size=12), st.text(alphabet="abc ", max_size=12), st.text(alphabet="ab", max_size=9))
def test_anls_is_symmetric_takes_the_best_reference_and_never_lies_between_zero_and_a_half(
    a: str, b: str, c: str
) -> None:
    assert anls(a, [b]) == anls(b, [a])
    assert anls(a, [b, c]) == max(anls(a, [b]), anls(a, [c]))
    assert anls(a, [b]) == 0 or 0.5 <= anls(a, [b]) <= 1
    assert anls(a, [a]) == 1


def test_exact_match_ignores_case_and_outer_space_only() -> None:
    assert exact_match(" Red\t", ["blue", "red "]) == 1
    assert exact_match("re d", ["red"]) == 0
    assert exact_match("", ["red"]) == 0
