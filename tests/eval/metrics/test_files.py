"""A user's own files of answers: the official scores come out, and what does not fit is said in one sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from mm1.config import UserError
from mm1.eval.metrics.files import score_captions, score_vqa

TRUTH = Path(__file__).parents[1] / "truth"
CAPTIONS = {
    "references": {"a": ["A dog runs.", "the dog"], "b": ["Two cats!"]},
    "candidates": {"a": "a dog", "b": "cats"},
}
QUESTION = {"id": 7, "answers": ["yes"] * 10, "prediction": "yes"}


def written(folder: Path, content: Any) -> Path:
    path = folder / "in.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("name", ["captions_b_5refs", "captions_c_5refs", "captions_two_sentences"])
def test_captions_get_the_official_scores(name: str, tmp_path: Path) -> None:
    truth = json.loads((TRUTH / f"{name}.json").read_text())
    by_id = {half: {f"x{i}": text for i, text in enumerate(truth[half])} for half in ("references", "candidates")}
    scored = score_captions(written(tmp_path, by_id))
    official = {key.lower().replace("bleu_", "bleu"): value for key, value in truth["scores"].items()}
    assert scored.to_json() == pytest.approx({key: official[key] for key in scored.scores}, abs=1e-8)
    assert list(scored.scores) == ["cider", "bleu1", "bleu2", "bleu3", "bleu4", "rouge_l"]
    assert (scored.scored, scored.missing) == (len(truth["candidates"]), 0)


def test_a_reference_without_a_candidate_is_left_out_and_counted(tmp_path: Path) -> None:
    more = {**CAPTIONS, "references": {**CAPTIONS["references"], "c": ["a dog far away"]}}
    scored = score_captions(written(tmp_path, more))
    assert scored.scores == score_captions(written(tmp_path, CAPTIONS)).scores
    assert scored.missing == scored.to_json()["missing"] == 1


def official_questions() -> tuple[dict[str, Any], list[dict[str, Any]]]:
    truth = json.loads((TRUTH / "vqa_accuracy.json").read_text())
    return truth["accuracy"], truth["questions"]


def test_questions_get_the_official_accuracy_one_by_one_and_by_type(tmp_path: Path) -> None:
    official, questions = official_questions()
    rows = [
        {**question, "question_id": i, "answers": [{"answer": text, "answer_id": 1} for text in question["answers"]]}
        for i, question in enumerate(questions)
    ]
    scored = score_vqa(written(tmp_path, {"questions": rows}))
    assert round(100 * scored.accuracy, 2) == official["overall"] == 42.77
    assert {id: round(100 * score, 2) for id, score in scored.by_question.items()} == {
        str(i): question["accuracy"] for i, question in enumerate(questions)
    }
    for kind, name in (("question_type", "perQuestionType"), ("answer_type", "perAnswerType")):
        assert {key: round(100 * value, 2) for key, value in scored.by_type[kind].items()} == official[name]


def test_the_form_of_captions_does_for_questions_too(tmp_path: Path) -> None:
    questions = official_questions()[1]
    halves = {
        "references": {str(i): question["answers"] for i, question in enumerate(questions)},
        "candidates": {str(i): question["prediction"] for i, question in enumerate(questions)},
    }
    assert round(100 * score_vqa(written(tmp_path, halves)).accuracy, 2) == 42.77


def test_questions_that_lack_a_half_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [QUESTION, {"id": 8, "answers": [], "prediction": "no"}, {"id": 9, "answers": ["no"] * 10}]
    scored = score_vqa(written(tmp_path, {"questions": rows}))
    assert (scored.accuracy, scored.missing, scored.by_question) == (1.0, 2, {"7": 1.0})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not valid JSON"),
        ("[1]", "holds a list"),
        ({"captions": {}}, "no object `references`"),
        ({**CAPTIONS, "candidates": {"z": "a dog"}}, "candidate 'z' has no references"),
        ({**CAPTIONS, "references": {"a": "a dog", "b": ["x"]}}, "the references of 'a' are no list"),
        ({**CAPTIONS, "candidates": {"a": ["a dog"]}}, r"candidate 'a' is \['a dog'\]: give a text"),
        ({**CAPTIONS, "candidates": {}}, "no candidate to score"),
        ('{"references": {"a": ["x"], "a": ["y"]}, "candidates": {"a": "x"}}', "has 'a' twice"),
    ],
)
def test_what_is_no_file_of_captions_is_said_in_one_sentence(content: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said) as error:
        score_captions(written(tmp_path, content))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("questions", "said"),
    [
        ("yes", "no list"),
        ([7], r"questions\[0\] is no object"),
        ([{**QUESTION, "id": None}], "has no id"),
        ([QUESTION, {**QUESTION, "id": "7"}], "question '7' twice"),
        ([{**QUESTION, "answers": ["yes"] * 9}], "has 9 answers, but the accuracy is made for 10"),
        ([{**QUESTION, "answers": "yes"}], "no list of answers"),
        ([{**QUESTION, "answers": [1] * 10}], "is 1: give a text"),
        ([{**QUESTION, "prediction": 3}], "the prediction of question '7' is 3"),
        ([{**QUESTION, "answers": None}], "no question with answers and a prediction"),
    ],
)
def test_what_is_no_file_of_questions_is_said_in_one_sentence(questions: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        score_vqa(written(tmp_path, {"questions": questions}))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        score_captions(tmp_path / "none.json")
