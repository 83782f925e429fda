"""Answers found in free text, by cases that follow the official rules by hand."""

import pytest

from mm1.eval.instruct.parsing import mathvista_answer, open_answer_is_right


@pytest.mark.parametrize(
    ("answer", "references", "right"),
    [
        ("1200", ["1200"], True), ("It is 1,200.0 A", ["1200"], True), ("12.001", ["12"], True),
        ("12.1", ["12"], False),
        ("We add 3 and 4. So the answer is 7.", ["7"], True), ("We add 3 and 4. So the answer is 7.", ["3"], False),
        ("The colour is dark Red", ["red"], True), ("It is reddish", ["red"], True), ("blue", ["red"], False),
        ("the plane is x", ["x"], True), ("a plane is xy", ["x"], False), ("x = 5", ["5"], True), ("", ["5"], False),
        ("the speed is\n5.0", ["4", "5"], True), ("-3", ["3"], False),
    ],
)  # fmt: skip
def test_open_answers_of_mmmu(answer: str, references: list[str], right: bool) -> None:
    assert open_answer_is_right(answer, references) is right


@pytest.mark.parametrize(
    ("answer", "choices", "kind", "precision", "found"),
    [
        ("(B)", ("3", "4"), "text", None, "4"), ("B.", ("3", "4"), "text", None, "4"),
        ("The answer is (A), as 4 is too much", ("3", "4"), "text", None, "3"), ("4", ("3", "4"), "text", None, "4"),
        ("a triangle", ("square", "triangles"), "text", None, "triangles"), ("", ("3", "4"), "text", None, ""),
        ("It has 12 sides", (), "integer", None, "12"), ("5.9", (), "integer", None, "5"),
        ("none", (), "integer", None, ""), ("first 2.5, then 1.256", (), "float", "2.0", "1.26"),
        ("1.25", (), "float", "1.0", "1.2"), ('The answer is "7".', (), "text", None, "7"),
        ("it is [1, 2] or [3, 4]", (), "list", None, "[3, 4]"), ("A house", (), "text", None, "A house"),
    ],
)  # fmt: skip
def test_answers_of_mathvista(
    answer: str, choices: tuple[str, ...], kind: str, precision: str | None, found: str
) -> None:
    assert mathvista_answer(answer, choices, kind, precision) == found
