"""What counts as a caption."""

import pytest

from mm1.curation.page import Dropped
from mm1.curation.recaption.answers import caption_of
from mm1.eval.chat_api import Answer


@pytest.mark.parametrize(
    ("said", "caption"),
    [
        (" A cat\nasleep on a  chair. ", "A cat asleep on a chair."), ('"A cat."', "A cat."), ("“A cat.”", "A cat."),
        ('"Stop" and "go" signs', '"Stop" and "go" signs'), ("Sorry cats sit in a row", "Sorry cats sit in a row"),
        ("'", None), ("A cat's paw", "A cat's paw"), ("Eine Katze, 猫", "Eine Katze, 猫"), ("A\0cat", "A cat"),
        ("<think>It is\na cat.</think>\nA cat.", "A cat."), ('Caption: "A cat."', "A cat."),
        ("**Answer:** A cat", "A cat"), ("A caption: cat", "A caption: cat"),
    ],
)  # fmt: skip
def test_only_what_is_around_a_caption_goes(said: str, caption: str | None) -> None:
    if caption is None:
        with pytest.raises(Dropped):
            caption_of(Answer(said, "m", "stop"), 10)
    else:
        assert caption_of(Answer(said, "m", "stop"), 10) == caption


@pytest.mark.parametrize(
    ("said", "finish", "reason"),
    [
        ("A cat that", "length", "cut_short"), ("<think>It is a", "stop", "cut_short"),
        ("I'm sorry, but I can't help with that.", "stop", "refused"),
        ("I cannot see the image.", "stop", "refused"), ("As an AI language model, I", "stop", "refused"),
        ("No image was provided.", "stop", "refused"), ("?!?! 123 --- ...", "stop", "no_words"),
        ("cat " * 11, "stop", "too_many_words"), ('"""', "", "no_words"),
    ],
)  # fmt: skip
def test_what_is_no_caption_has_a_reason(said: str, finish: str, reason: str) -> None:
    with pytest.raises(Dropped) as caught:
        caption_of(Answer(said, "m", finish), 10)
    assert caught.value.reason == reason
