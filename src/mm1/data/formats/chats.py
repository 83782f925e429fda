r"""Chats from turns: what the readers of instruction data share.

    chat([cat], [("<image>\nWhat is this?", "A cat."), ("Its colour?", "Black.")])

The word `<image>` in a question stands for the next picture, as LLaVA writes it; it is a mark only if there are as
many marks as pictures. Pictures without any mark come before the first question. In a chat without pictures the word is
text, and so it is in answers always. The prompt's own words are `templates.chat_turn`'s.
"""

from __future__ import annotations

from collections.abc import Sequence

from mm1.data import templates
from mm1.data.formats.reading import Unusable
from mm1.types import Image, Segment, Text

MARK = "<image>"


def chat(images: Sequence[Image], turns: Sequence[tuple[str, str]]) -> tuple[Segment, ...]:
    """The segments of a chat of (question, answer) turns; only answers are targets.

    Raises:
        Unusable: "no turns", "empty turn", "images and <image> marks differ in number".
    """
    if not turns:
        raise Unusable("no turns")
    marks = sum(question.count(MARK) for question, _ in turns) if images else 0
    if marks not in (0, len(images)):
        raise Unusable("images and <image> marks differ in number")
    left = list(images)
    segments: list[Segment] = []
    for question, answer in turns:
        number = question.count(MARK) if marks else len(left)
        shown, left = left[:number], left[number:]
        asked = _placed(question, shown) if marks else _after(question, shown)
        if not templates.merged(asked) or not answer.strip():
            raise Unusable("empty turn")
        segments += templates.chat_turn(asked, answer.strip())
    return templates.merged(segments)


def _after(question: str, shown: Sequence[Image]) -> tuple[Segment, ...]:
    return (*shown, Text(question.strip()))


def _placed(question: str, shown: Sequence[Image]) -> tuple[Segment, ...]:
    """The question with its pictures where its marks are; line breaks around a mark only set it apart."""
    first, *others = question.split(MARK)
    parts: list[Segment] = [Text(first.strip() if not others else first.lstrip().rstrip("\n"))]
    for image, text in zip(shown, others, strict=True):
        parts += [image, Text(text.strip("\n"))]
    last = parts[-1]
    assert isinstance(last, Text)
    parts[-1] = Text(last.text.rstrip())
    return tuple(parts)
