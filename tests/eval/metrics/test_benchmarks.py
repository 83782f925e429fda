"""Scores of sets, against cases computed by hand from the official definitions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.config import UserError
from mm1.eval.metrics.benchmarks import (
    COGNITION,
    PERCEPTION,
    Pope,
    choice_letter,
    circular,
    meta_average,
    mme,
    mme_answer,
    mme_totals,
    pope,
    pope_answer,
    rotations,
)


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        ("no", "no"), ("No, there is none", "no"), ("There is not. Yes", "no"), ("Yes. no", "yes"), ("NO", "yes"),
        ("nothing", "yes"), ("", "yes"), ("yes,no doubt", "yes"), ("yes, no doubt", "no"),
    ],
)  # fmt: skip
def test_pope_reads_the_first_sentence_as_its_code_does(output: str, answer: str) -> None:
    assert pope_answer(output) == answer


def test_popes_figures() -> None:
    outputs = ["yes", "yes", "yes", "no", "no", "yes", "no", "no"]
    labels = ["yes", "yes", "no", "yes", "no", "no", "no", "No\n"]
    assert pope(outputs, labels) == Pope(
        accuracy=5 / 8, precision=2 / 4, recall=2 / 3, f1=pytest.approx(4 / 7), yes=4 / 8
    )
    assert pope(["no", "no"], ["yes", "no"]) == Pope(0.5, 0.0, 0.0, 0.0, 0.0)
    assert pope(["yes"], ["no"]).f1 == 0


def test_a_label_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(UserError, match="'cat'"):
        pope(["yes"], ["cat"])


@pytest.mark.parametrize(
    ("output", "answer"),
    [("Yes", "yes"), ("No.", "no"), (" yes, a cat", "yes"), ("Nope", "no"), ("It is not", "other"), ("", "other"),
     ("a no", "no"), ("I say no", "other")],
)  # fmt: skip
def test_mme_reads_four_characters(output: str, answer: str) -> None:
    assert mme_answer(output) == answer


def test_mmes_points() -> None:
    answers = [("a", True), ("b", True), ("a", True), ("b", False), ("c", False), ("c", False)]
    assert mme(answers) == pytest.approx(50 + 100 / 3)
    with pytest.raises(UserError, match="but 1 of d"):
        mme([*answers, ("d", True)])


def test_mmes_sums_need_all_their_tasks() -> None:
    tasks = dict.fromkeys(PERCEPTION, 150.0)
    assert mme_totals(tasks) == {"perception": 1500}
    assert mme_totals({**tasks, **dict.fromkeys(COGNITION, 50.0)}) == {"perception": 1500, "cognition": 200}
    assert mme_totals(dict.fromkeys(PERCEPTION[1:], 1.0)) == {}


CHOICES = {"A": "a cat", "B": "A dog.", "C": "none"}


@pytest.mark.parametrize(
    ("output", "letter"),
    [
        ("B", "B"), (" B. A dog", "B"), ("(C)", "C"), ("A: a cat", "A"), ("A cat", "A"), ("a dog", "B"), ("None.", "C"),
        ("The answer is B.", "B"), ("The answer is (C), not option A", None), ("Answer: A", "A"), ("D", None),
        ("A dog and a cat", None), ("", None), ("Because", None), ("b", None), ("A, B", None), ("A,B,C", None),
        ("(A) or (B)", None), ("A), C)", None), ("A. or B.", None), ("A and C", None), ("A, B and C", None),
        ("A, a cat", "A"), ("A. A cat and a dog", "A"), ("B, A dog", "B"), ("C: A is wrong", "C"),
    ],
)  # fmt: skip
def test_a_choice_is_named_by_its_letter_or_its_text(output: str, letter: str | None) -> None:
    assert choice_letter(output, CHOICES) == letter


def test_rotations_put_every_choice_in_every_place_once() -> None:
    assert rotations(3) == [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    for count in range(1, 6):
        assert all(sorted(column) == list(range(count)) for column in zip(*rotations(count), strict=True))


def test_a_question_counts_if_every_order_is_right() -> None:
    assert circular([("7", False), ("8", True), ("7", True), ("8", True), ("9", True)]) == pytest.approx(2 / 3)


@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=1), st.floats(0.1, 5))
def test_a_model_a_times_as_good_everywhere_has_the_average_a(baseline: dict[str, float], factor: float) -> None:
    scores = {name: factor * value for name, value in baseline.items()}
    assert meta_average(scores, baseline) == pytest.approx(factor)


def test_the_meta_average_is_the_mean_of_ratios_not_the_ratio_of_means() -> None:
    assert meta_average({"mme": 1000, "pope": 0.9}, {"mme": 2000, "pope": 0.6}) == pytest.approx((0.5 + 1.5) / 2)


@pytest.mark.parametrize(("baseline", "said"), [({"a": 1, "b": 2}, "b stand"), ({"a": 0}, "a is 0"), ({}, "a stand")])
def test_what_can_not_be_compared_is_refused(baseline: dict[str, float], said: str) -> None:
    with pytest.raises(UserError, match=said):
        meta_average({"a": 1}, baseline)
