"""VQA accuracy and its normalisation against the official scorer."""

import json
from collections import defaultdict
from pathlib import Path

import pytest

from mm1.eval.metrics.vqa import normalise, strip_punctuation, vqa_accuracy

TRUTH = Path(__file__).parents[1] / "truth"


def test_normalisation_equals_the_official_one() -> None:
    for case in json.loads((TRUTH / "vqa_normalisation.json").read_text()):
        assert strip_punctuation(case["in"]) == case["after_punct"], case
        assert normalise(case["in"]) == case["out"], case


def test_accuracy_equals_the_official_one_by_question_and_by_type() -> None:
    truth = json.loads((TRUTH / "vqa_accuracy.json").read_text())
    by_type: dict[str, list[float]] = defaultdict(list)
    for question in truth["questions"]:
        score = 100 * vqa_accuracy(question["prediction"], question["answers"])
        assert round(score, 2) == question["accuracy"]
        by_type["overall"].append(score)
        by_type[question["question_type"]].append(score)
        by_type[question["answer_type"]].append(score)
    means = {key: sum(scores) / len(scores) for key, scores in by_type.items()}
    official = truth["accuracy"]
    assert means.pop("overall") == pytest.approx(official["overall"], abs=0.0051)
    assert means == pytest.approx({**official["perQuestionType"], **official["perAnswerType"]}, abs=0.0051)


@pytest.mark.parametrize(("agreeing", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (9, 1.0)])
def test_leave_one_out(agreeing: int, expected: float) -> None:
    """The values printed in the VQA paper for ten answers."""
    assert vqa_accuracy("yes", ["yes"] * agreeing + ["no"] * (10 - agreeing)) == pytest.approx(expected)


def test_unanimous_answers_are_compared_to_the_letter() -> None:
    assert vqa_accuracy("the dog", ["dog"] * 10) == 0
    assert vqa_accuracy("the dog", ["dog"] * 9 + ["cat"]) == 1


def test_a_comma_between_digits_removes_all_punctuation() -> None:
    assert normalise("black/white 2,3") == "blackwhite 23"
    assert normalise("black/white 23") == "black white 23"


def test_only_32_full_stops_go() -> None:
    assert normalise("a.b" + "." * 40) == "ab" + "." * 9
