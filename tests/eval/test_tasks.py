"""Tasks refuse what would measure nothing; metrics score as their names say."""

from dataclasses import replace
from typing import Any

import pytest

from mm1.config import UserError
from mm1.eval.episodes import Attribute, Episode
from mm1.eval.metrics.caption import cider_d, tokenise
from mm1.eval.tasks import (
    ItemScore,
    Part,
    Task,
    anls,
    attribute_accuracy,
    cider,
    exact_match,
    relaxed_accuracy,
    vqa_accuracy,
)
from mm1.types import Image, Text

EPISODE = Episode(
    id="e",
    query=(Image(b"q"), Text(" it is")),
    references=("Red",),
    kind="colour",
    shots=((Image(b"s"), Text(" it is blue\n")),),
    candidates=(" red", " blue"),
    chance=0.5,
)


def task(**changes: Any) -> Task:
    return Task(**{"name": "t", "episodes": (EPISODE,), "metric": exact_match, **changes})


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"episodes": ()}, "no episodes"),
        ({"episodes": (EPISODE, EPISODE)}, "1 repeated episode ids, 'e' the first"),
        ({"episodes": (replace(EPISODE, query=(Image(b"s"),)),)}, "image.*shot 0"),
        ({"episodes": (replace(EPISODE, references=()),)}, "'e' has no references"),
        ({"metric": attribute_accuracy}, "'e' has no required"),
        ({"mode": "choose", "episodes": (replace(EPISODE, candidates=(" blue", " green")),)}, "'red'.* is right"),
        ({"mode": "choose", "episodes": (replace(EPISODE, candidates=(" red", "red")),)}, "different candidates"),
        ({"name": "a/b"}, "'a/b'"),
    ],
)
def test_construction_refuses(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        task(**changes)


@pytest.mark.parametrize(
    ("output", "answer"),
    [(" Red\nfoo", "Red"), ("red, blue. Question: x", "red"), ("", ""), ("\nred", ""), ("Red.", "Red.")],
)
def test_the_answer_is_what_precedes_the_first_stop(output: str, answer: str) -> None:
    assert task(stop=("\n", ", ", "Question")).extract(output) == answer


def test_metrics_of_one_kind() -> None:
    numbers = replace(EPISODE, references=("10", "200"))
    ten = replace(EPISODE, references=("two",) * 2 + ("3",) * 8)
    assert exact_match(["red", "blue"], [EPISODE, EPISODE]) == [
        ItemScore(1.0, (Part("colour", 1.0, 0.5),)),
        ItemScore(0.0, (Part("colour", 0.0, 0.5),)),
    ]
    assert [item.score for item in relaxed_accuracy(["10.4", "209", "11"], [numbers] * 3)] == [1, 1, 0]
    assert vqa_accuracy(["2"], [ten])[0].score == pytest.approx(0.6)
    assert anls(["redd"], [EPISODE])[0].score == pytest.approx(0.75)


def test_cider_takes_its_frequencies_from_the_episodes() -> None:
    captions = ["a red dog runs", "a blue cat sleeps", "two birds fly"]
    episodes = [replace(EPISODE, id=text, references=(text,)) for text in captions]
    outputs = ["A red dog.", "a blue cat sleeps", ""]
    expected = cider_d([tokenise(text) for text in outputs], [[tokenise(text)] for text in captions])
    assert [item.score for item in cider(outputs, episodes)] == expected
    assert expected[1] == pytest.approx(10)


REQUIRED = (
    Attribute("red", "colour", 0.25),
    Attribute("red", "colour", 0.25),
    Attribute("top left", "position"),
    Attribute("7", "digits"),
)


@pytest.mark.parametrize(
    ("output", "found"),
    [
        ("a red circle, RED square at the top left, reading 7.", [1, 1, 1, 1]),
        ("a red circle at the left top, reading 77", [1, 0, 0, 0]),
        ("red red", [1, 1, 0, 0]),
        ("redder; top-left", [0, 0, 1, 0]),
        ("", [0, 0, 0, 0]),
    ],
)
def test_attributes_are_whole_words_as_often_as_required(output: str, found: list[int]) -> None:
    (item,) = attribute_accuracy([output], [replace(EPISODE, required=REQUIRED)])
    assert [part.score for part in item.parts] == found
    assert [part.kind for part in item.parts] == ["colour", "colour", "position", "digits"]
    assert item.score == sum(found) / 4
