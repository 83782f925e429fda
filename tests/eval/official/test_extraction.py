"""Answers out of raw outputs."""

import pytest

from mm1.eval.official.extraction import Stems, reasoned_answer, short_answer


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (" cake", "cake"),
        (" cake Question: what is it", "cake"),
        (" cake Answer: pie", "cake"),
        (" yes, it is", "yes"),
        (" 1,000", "1,000"),
        (" Short answer: cake", ""),
        ("", ""),
    ],
)
def test_a_short_answer_ends_before_the_next_turn_and_the_first_comma(output: str, answer: str) -> None:
    assert short_answer(output) == answer


@pytest.mark.parametrize(
    ("output", "answer"),
    [
        (" Two and two make four. The answer is 4.", "4"),
        ("The answer is 3? No. So the answer is: 4.5", "4.5"),
        ("Answer: red", "red"),
        ('the answer is "a cake".', "a cake"),
        (" I do not know.", ""),
        ("the answer is 4.\nQuestion: and", "4"),
    ],
)
def test_a_reasoned_answer_is_what_the_last_conclusion_says(output: str, answer: str) -> None:
    assert reasoned_answer(output) == answer


def test_stems_are_those_of_the_files_words_and_rules_for_the_others() -> None:
    def said(raw: str, stemmed: str) -> dict[str, str]:
        return {"raw_answer": raw, "answer": stemmed}

    answers = [said("riding waves", "ride wave"), said("Vegas", "vegas"), said("vegas", "vegas"), said("a b", "c")]
    stems = Stems.of([{"answers": answers}, {"answers": [said("vegas", "vega")]}, {}])
    assert stems(" Riding waves, of course") == "ride wave"
    assert stems("vegas Question: x") == "vegas", "the commonest stem"
    # Words that nobody used there. Inflections whose stems are the words of a dictionary.
    for word, stem in {
        "running": "run", "skating": "skate", "eating": "eat", "falling": "fall", "playing": "play", "king": "king",
        "string": "string", "spring": "spring",
        "boxes": "box", "ponies": "pony", "dogs": "dog", "glass": "glass", "bus": "bus", "tennis": "tennis",
        "surfboards": "surfboard", "yes": "yes", "beaches": "beach",
    }.items():  # fmt: skip
        assert stems(word) == stem
