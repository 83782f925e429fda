"""Prompt strings: one form for demonstrations, training and generation."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from mm1.data.templates import STOP, answered, chat_turn, merged, question_prompt
from mm1.types import Image, Text

IMAGE = Image(b"")


def test_an_answer_follows_its_prompt_on_one_line():
    shot = answered(question_prompt(IMAGE, "what colour is the star?"), "red")
    assert shot == (IMAGE, Text("question: what colour is the star? answer: red\n"))
    assert question_prompt(None, "why?") == (Text("question: why? answer:"),)


def test_only_the_answer_of_a_chat_is_a_target():
    turn = chat_turn((IMAGE, Text("what is this?")), "a dog")
    assert turn == (
        Text("user: ", target=False),
        IMAGE,
        Text("what is this?\nassistant:", target=False),
        Text(" a dog\n"),
    )
    prompt = chat_turn((Text("what "), Text("is "), Text("this?")), None)
    assert prompt == (Text("user: what is this?\nassistant:", target=False),)


@given(st.lists(st.one_of(st.builds(Text, st.text(max_size=3), st.booleans()), st.just(IMAGE)), max_size=8))
def test_merging_keeps_the_text_the_targets_and_the_images(segments):
    def spelled(parts):
        return [(c, part.target) for part in parts if isinstance(part, Text) for c in part.text]

    result = merged(segments)
    assert spelled(result) == spelled(segments)
    assert sum(part is IMAGE for part in result) == sum(part is IMAGE for part in segments)
    for left, right in pairwise(result):
        assert not (isinstance(left, Text) and isinstance(right, Text) and left.target == right.target)
    assert STOP == "\n"
