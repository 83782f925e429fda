r"""Every prompt string of mm1 stands here: captions, questions, chats, from pieces to segments of a Document.

    answered(question_prompt(image, "what colour is the star?"), "red")
    # Image, "question: what colour is the star? answer: red\n"

An answer follows its prompt after one space and ends with a line break, so that demonstrations, training texts and
generated answers look alike and "\n" stops generation. Knows nothing of tokens: text stays text, whatever it spells.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mm1.types import Image, Segment, Text

STOP = "\n"
"""What ends an answer."""

DESCRIBE = "describe the picture."
NAME = "what is this?"
READ = "what is written here?"


def caption_prompt(image: Image) -> tuple[Segment, ...]:
    """An image alone: its caption follows."""
    return (image,)


def question_prompt(image: Image | None, question: str) -> tuple[Segment, ...]:
    """A question, after its image if it has one, up to where the answer begins."""
    text = Text(f"question: {question} answer:")
    return (text,) if image is None else (image, text)


def answered(prompt: Sequence[Segment], answer: str) -> tuple[Segment, ...]:
    """The prompt with its answer, on one line."""
    return merged((*prompt, Text(f" {answer}{STOP}")))


def chat_turn(question: Sequence[Segment], answer: str | None) -> tuple[Segment, ...]:
    """One exchange of a chat; only the answer is a target. Without an answer, a prompt for it.

    The question's own texts lose their target mark; images stand where they stand in the question. Neighbouring texts
    are one, for a text's tokens depend on where it begins: whoever trains and whoever asks must cut alike.
    """
    asked = tuple(replace(part, target=False) if isinstance(part, Text) else part for part in question)
    opening = (Text("user: ", target=False), *asked, Text(f"{STOP}assistant:", target=False))
    return merged(opening if answer is None else (*opening, Text(f" {answer}{STOP}")))


def merged(segments: Iterable[Segment]) -> tuple[Segment, ...]:
    """Neighbouring texts with the same target mark become one; empty ones disappear."""
    result: list[Segment] = []
    for segment in segments:
        last = result[-1] if result else None
        if isinstance(segment, Text) and isinstance(last, Text) and segment.target == last.target:
            result[-1] = Text(last.text + segment.text, last.target)
        elif not isinstance(segment, Text) or segment.text:
            result.append(segment)
    return tuple(result)
