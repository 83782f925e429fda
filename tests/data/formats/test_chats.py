"""Pictures take the places that the questions mark, and chats read as `templates.chat_turn` writes them."""

import pytest

from mm1.data import templates
from mm1.data.formats.chats import chat
from mm1.data.formats.reading import Unusable
from mm1.types import Image, Text

CAT, DOG = Image(b"cat"), Image(b"dog")


def test_a_mark_becomes_the_picture_and_only_answers_are_targets():
    turns = [("<image>\nWhat is this?", "A cat. "), ("And this: <image>?\n", "An <image>.")]
    assert chat([CAT, DOG], turns) == (
        Text("user: ", target=False), CAT, Text("What is this?\nassistant:", target=False), Text(" A cat.\n"),
        Text("user: And this: ", target=False), DOG, Text("?\nassistant:", target=False), Text(" An <image>.\n"),
    )  # fmt: skip
    one = templates.chat_turn((CAT, Text("What?")), "A cat.")
    assert chat([CAT], [("<image>\nWhat?", "A cat.")]) == one


def test_unmarked_pictures_come_first_and_marks_without_pictures_are_text():
    marked, unmarked = [("<image>\n<image>\nWhich?", "Both.")], [("Which?", "Both.")]
    assert chat([CAT, DOG], unmarked) == chat([CAT, DOG], marked)
    assert chat([], [("Write <image>.", "<image>")])[0] == Text("user: Write <image>.\nassistant:", target=False)
    assert chat([CAT], [("<image>", "A cat.")])[1] == CAT


@pytest.mark.parametrize(
    ("images", "turns", "reason"),
    [
        ([CAT], [("<image><image>", "a")], "images and <image> marks differ in number"),
        ([CAT, DOG], [("<image> a?", "a"), ("b?", "b")], "images and <image> marks differ in number"),
        ([], [], "no turns"),
        ([], [(" ", "a")], "empty turn"),
        ([CAT], [("a", "a"), ("", "b")], "empty turn"),
        ([], [("a", "\n")], "empty turn"),
    ],
)
def test_what_is_no_chat_is_told(images, turns, reason):
    with pytest.raises(Unusable) as error:
        chat(images, turns)
    assert error.value.reason == reason
