"""The tokeniser against the recorded output of the official program."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mm1.eval.metrics.ptb import tokenise

CASES = json.loads((Path(__file__).parents[1] / "truth" / "ptb_cases.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["text"][:40])
def test_equals_the_official_tokeniser(case: dict[str, object]) -> None:
    assert tokenise(str(case["text"])) == case["tokens"]


@given(st.text())
def test_any_text_gives_lower_case_tokens_without_spaces(text: str) -> None:
    for token in tokenise(text):
        assert token
        assert token.split() == [token]
        assert token == token.lower()


@given(st.lists(st.sampled_from(["man", "red", "dog's", "can't", "T-shirt", "(blue)", "3.5", "U.S."]), min_size=1))
def test_runs_of_space_and_line_breaks_do_not_matter(words: list[str]) -> None:
    assert tokenise(" \n ".join(words)) == tokenise(" ".join(words))
