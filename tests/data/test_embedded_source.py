"""The embedded sample as sources: training pictures only, in the templates' forms."""

import pytest
from pydantic import ValidationError

from mm1.data.embedded import caption_records
from mm1.data.embedded_source import EmbeddedConfig, EmbeddedSource
from mm1.types import Image, Text

PARTS = ("captions", "galleries", "pages", "text", "chat")


def source(part, **changes):
    return EmbeddedSource(EmbeddedConfig(name=part, part=part, num_documents=30, num_items=(2, 4), **changes))


@pytest.mark.parametrize("part", PARTS)
def test_documents_are_by_number_and_held_out_pictures_never_occur(part):
    held_out = {record.image for split in ("test", "style_test") for record in caption_records(split)}
    documents = [source(part).document(index) for index in range(len(source(part)))]
    assert len(documents) == 30
    assert documents == [source(part).document(index) for index in range(30)]
    assert not held_out & {image.data for document in documents for image in document.images}


def test_a_caption_follows_its_picture_on_one_line():
    image, text = source("captions").document(3).segments
    assert isinstance(image, Image)
    assert text.text.startswith(" ")
    assert text.text.endswith("\n")


def test_galleries_have_as_many_pictures_as_asked_and_hang_on_the_seed():
    for index in range(30):
        assert 2 <= len(source("galleries").document(index).images) <= 4
    assert source("galleries").document(0) != source("galleries", seed=1).document(0)


def test_in_chats_only_the_name_is_a_target():
    document = source("chat").document(0)
    targets = [part for part in document.segments if isinstance(part, Text) and part.target]
    assert len(targets) == len(document.images)
    names = {record.caption for record in caption_records("train")}
    assert {part.text.strip() for part in targets} <= names


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"num_items": (5, 1)}, "num_items is 5 to 1"),
        ({"num_items": (0, 3)}, "at least 1"),
        ({"num_documents": 0}, "num_documents"),
    ],
)
def test_a_source_that_could_give_no_document_is_refused(wrong, told):
    with pytest.raises(ValidationError, match=told):
        EmbeddedConfig(name="g", part="galleries", **wrong)
