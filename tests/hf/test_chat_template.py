"""The Jinja template writes what mm1's own template writes, and text in it stays text."""

from __future__ import annotations

from typing import Any

import jinja2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mm1.data.templates import chat_turn, merged
from mm1.hf.chat_template import ESCAPE
from mm1.types import Document, Image, Segment, Text
from tests.hf.exported import picture, png

SPELLINGS = [
    "<|image|>",
    "<|endoftext|>",
    "<|pad|>",
    "<",
    "|image|>",
    ESCAPE,
    f"<{ESCAPE}",
    "a < b",
    "\n",
    "user: ",
    "",
]
texts = st.lists(st.sampled_from(SPELLINGS) | st.text(max_size=6), max_size=4).map("".join)
PICTURE = picture(0)
questions = st.lists(texts | st.just(PICTURE), min_size=1, max_size=4)
chats = st.lists(st.tuples(questions, texts), min_size=1, max_size=3)


def messages(chat: list[tuple[list[Any], str]], answered: bool) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = []
    for question, answer in chat:
        parts = [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
            for part in question
        ]
        turns += [{"role": "user", "content": parts}, {"role": "assistant", "content": answer}]
    return turns if answered else turns[:-1]


def segments(chat: list[tuple[list[Any], str]], answered: bool) -> tuple[Segment, ...]:
    turns: list[Segment] = []
    for number, (question, answer) in enumerate(chat):
        parts = [_part(part) for part in question]
        open_end = not answered and number == len(chat) - 1
        turns += chat_turn(parts, None if open_end else answer)
    # Whether a text is a target says nothing of the string.
    return merged(Text(turn.text) if isinstance(turn, Text) else turn for turn in turns)


@pytest.mark.parametrize("name", ["tied", "untied", "sentence piece"])
@settings(max_examples=80, deadline=None)
@given(chat=chats, answered=st.booleans())
@example(chat=[(["<|im", "age|>", PICTURE, "<|image|>"], "<|endoftext|>")], answered=True)
@example(chat=[(["<<|image|>"], f"{ESCAPE}<")], answered=False)
def test_ids_of_a_chat_are_mm1s_whatever_it_spells(variant, name, chat, answered):
    """The second and third models' documents begin with a token, the third's with a space too; so do their chats."""
    exported = variant(name)
    got = exported.processor.apply_chat_template(
        messages(chat, answered), tokenize=True, return_dict=True, add_generation_prompt=not answered
    )
    sample = exported.own.encoder.encode(Document("chat", segments(chat, answered)), end=False)
    assert got["input_ids"][0] == sample.tokens.tolist()
    assert len(got.get("pixel_values", ())) == len(sample.images)


words = st.lists(st.sampled_from(["a", "cat", "red,", "what", "is", "dog", "é", "<|pad|>"]), min_size=1, max_size=4)
sentences = words.map(" ".join)


@pytest.mark.parametrize("name", ["tied", "untied", "sentence piece"])
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(sentences | st.just(PICTURE), min_size=1, max_size=3), sentences), min_size=1))
@example([(["a cat"], "ok"), ([PICTURE, "what is"], "red"), (["ok"], "a dog")])
def test_ids_of_a_chat_are_those_it_was_trained_on(variant, name, chat):
    """As training cuts it: an answer and the question after it are pieces of their own."""
    exported = variant(name)
    got = exported.processor.apply_chat_template(messages(chat, answered=True), tokenize=True, return_dict=True)
    turns = tuple(turn for question, answer in chat for turn in chat_turn([*map(_part, question)], answer))
    assert got["input_ids"][0] == exported.own.encoder.encode(Document("chat", turns), end=False).tokens.tolist()


def _part(part: Any) -> Segment:
    return Text(part) if isinstance(part, str) else Image(png(part))


@settings(max_examples=100, deadline=None)
@given(chats, st.booleans())
def test_a_chat_is_written_as_mm1_writes_it_and_escaped_only_where_it_spells_something(variant, chat, answered):
    turns = messages(chat, answered)
    written = segments(chat, answered)
    expected = "".join(turn.text if isinstance(turn, Text) else "<|image|>" for turn in written)
    got = variant("tied").processor.apply_chat_template(turns, add_generation_prompt=not answered)
    assert got.replace(f"<{ESCAPE}", "<") == expected
    own = "".join(part for question, answer in chat for part in (*question, answer) if isinstance(part, str))
    if not any(spelling in own for spelling in ("<|image|>", "<|endoftext|>", "<|pad|>", ESCAPE)):
        assert got == expected


def test_without_a_prompt_for_the_answer_the_question_ends_with_its_line(variant):
    asked = [{"role": "user", "content": "what is this?"}]
    assert variant("tied").processor.apply_chat_template(asked) == "user: what is this?\n"


def test_only_answers_are_in_the_mask_of_the_assistant(variant):
    exported = variant("tied")
    chat = [([picture(1), "what is this?"], "a cat"), (["and this?", picture(2)], "a dog")]
    got = exported.processor.apply_chat_template(
        messages(chat, answered=True), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, mask = got["input_ids"][0], got["assistant_masks"][0]
    marked = [token for token, kept in zip(ids, mask, strict=True) if kept]
    assert exported.checkpoint.tokenizer.decode(marked) == " a cat\n a dog\n"


@pytest.mark.parametrize(
    ("roles", "number"),
    [(["system", "user"], 1), (["assistant"], 1), (["user", "user"], 2), (["user", "assistant", "assistant"], 3)],
)
def test_turns_that_mm1_does_not_know_are_refused(variant, roles, number):
    chat = [{"role": role, "content": "hello"} for role in roles]
    with pytest.raises(jinja2.TemplateError, match=f"message {number} is of {roles[number - 1]}: this model knows"):
        variant("tied").processor.apply_chat_template(chat)


def test_what_is_neither_text_nor_image_is_refused(variant):
    chat = [{"role": "user", "content": [{"type": "video", "url": "v.mp4"}]}]
    with pytest.raises(jinja2.TemplateError, match="texts and images only: leave out what is video"):
        variant("tied").processor.apply_chat_template(chat)
