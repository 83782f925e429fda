"""Charts and pages of text as captions, interleaved pages, questions and chats."""

import pytest

from mm1.data import templates
from mm1.data.synthetic.scenes import World
from mm1.data.synthetic.source import MAKERS, SyntheticConfig, SyntheticSource, make_page
from mm1.types import Image, Text

PRINTED = ("charts", "chart_questions", "writings", "writing_questions")


def config(page, least=1, most=1, **changes):
    return SyntheticConfig(
        name=page, page=page, num_documents=20, num_items=(least, most), world=World(image_size=96), **changes
    )


def items_of(asked, index):
    """The items of a document of one page."""
    rng = asked.rng("train", index)
    rng.randint(*asked.num_pages)
    return MAKERS[asked.page](asked.world, rng, "train", rng.randint(*asked.num_items)).items


@pytest.mark.parametrize("page", PRINTED)
def test_every_maker_gives_every_form(page):
    """A pair, a page of several, and a chat in which only the answers count; every picture has its own text."""
    (single,) = items_of(config(page), 0)
    image, text = SyntheticSource(config(page)).document(0).segments
    assert isinstance(image, Image)
    asked = page.endswith("questions")
    assert text == Text(f"question: {single.question} answer: {single.answer}\n" if asked else f" {single.answer}\n")

    several = SyntheticSource(config(page, 3, 3)).document(1)
    assert [type(part) for part in several.segments] == [Image, Text] * 3

    chat = SyntheticSource(config(page, 2, 2, chat=True)).document(2)
    items = items_of(config(page, 2, 2), 2)
    assert [part.text for part in chat.segments if isinstance(part, Text) and part.target] == [
        f" {item.answer}\n" for item in items
    ]
    assert all(any(item.question in part.text for part in chat.segments if isinstance(part, Text)) for item in items)
    assert len(chat.images) == 2


def test_what_is_asked_of_writings_is_to_read_them():
    for page in ("writings", "writing_questions"):
        assert {item.question for item in make_page(config(page, 4, 4), 0, "train").items} == {templates.READ}


@pytest.mark.parametrize("page", PRINTED)
def test_tests_are_about_other_things_than_training(page):
    trained = {item.content for index in range(20) for item in make_page(config(page, 4, 4), index, "train").items}
    tested = {item.content for index in range(20) for item in make_page(config(page, 4, 4), index, "test").items}
    assert len(trained) > 60
    assert not trained & tested
