"""A document that has seen an evaluation is found, by its images or by its words, and others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mm1.config import UserError
from mm1.curation.decontaminate import ANY_IMAGE, DecontaminationRules, EvaluationIndex, build_index, digest, load_index
from mm1.curation.evaluation_files import Found
from mm1.curation.images import Picture, inspect
from mm1.data.formats.reading import Drop
from tests.curation.pictures import encoded, scene

RULES = DecontaminationRules()
LONG = "How many of the seven red boats in the harbour have a white sail, and which of them is the largest?"
MIDDLE = "What does the sign above the old door say?"
SHORT = "What color is the cat?"
FILLER = "words that stand around what is looked for and have nothing at all to do with it"


def picture(data: bytes) -> Picture:
    return inspect(data, ANY_IMAGE)


@pytest.fixture(scope="module")
def index() -> EvaluationIndex:
    images = [encoded(scene(seed)) for seed in range(20)]
    return build_index([LONG, MIDDLE, SHORT, *images, b"no picture", Drop("damaged", "x", count=3)], RULES)


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"{FILLER}\n\n{LONG.upper()} {FILLER}",
        f"{FILLER}: the seven, RED boats in the harbour have a “white sail” and\nwhich {FILLER}",
        f"{FILLER}. {MIDDLE} {FILLER}",
    ],
)
def test_words_in_a_row_are_found(index: EvaluationIndex, text: str) -> None:
    assert index.text_reason(text) == "evaluation_text"


@pytest.mark.parametrize(
    "text",
    [
        "",
        FILLER,
        SHORT,
        f"{FILLER} the seven red boats in the harbour have a white sail and {FILLER}",  # twelve words
        "What does the sign above the old door of it say?",
    ],
)
def test_fewer_words_are_not(index: EvaluationIndex, text: str) -> None:
    assert index.text_reason(text) is None


def test_what_is_left_out_is_told(index: EvaluationIndex) -> None:
    assert index.left_out == {"short_text": 1, "unreadable": 1, "damaged": 3}


WORDS = st.lists(st.sampled_from("abcdefgh"), min_size=0, max_size=24)


@settings(max_examples=300, deadline=None)
@given(asked=WORDS, text=WORDS)
def test_against_plain_comparison(asked: list[str], text: list[str]) -> None:
    rules = DecontaminationRules(words=4, min_words=2)
    index = build_index([" ".join(asked)], rules)
    length = min(4, len(asked))
    runs = {tuple(asked[start : start + length]) for start in range(len(asked) - length + 1)}
    found = {tuple(text[start : start + length]) for start in range(len(text) - length + 1)}
    expected = length >= 2 and bool(runs & found)
    assert (index.text_reason(" ".join(text)) is not None) == expected


def test_the_numbers_are_those_of_gpt_3_and_ours() -> None:
    assert DecontaminationRules().model_dump() == {"words": 13, "min_words": 8, "max_distance": 6}


def test_runs_shorter_than_the_shortest_text_are_looked_for() -> None:
    few = build_index([MIDDLE], DecontaminationRules(words=3, min_words=8))
    assert few.text_reason("that sign over the shop") is None
    assert few.text_reason("it is above the old door") == "evaluation_text"


def test_evaluations_have_images_that_no_training_set_takes() -> None:
    data = encoded(scene(1, 400, 60))
    assert build_index([data], RULES).image_reason(picture(data)) == "evaluation_image"


def test_where_one_thing_ends_and_another_begins_is_in_the_digest() -> None:
    assert digest(["atb"]) != digest(["a", "b"])


def test_what_was_found_has_one_digest_and_other_things_another() -> None:
    found: list[Found] = [LONG, b"a picture", Drop("damaged", "x", count=3)]
    others: list[list[Found]] = [
        [],
        found[:2],
        [LONG, "a picture", found[2]],
        [f"{LONG}a", b" picture", found[2]],
        [LONG, b"A picture", found[2]],
        [*found[:2], Drop("damaged", "x", count=4)],
    ]
    assert digest(found) == digest([*found[:2], Drop("damaged", "elsewhere", count=3)])
    assert len({digest(found), *map(digest, others)}) == 7


def test_what_is_looked_for_and_what_is_not_is_told(index: EvaluationIndex) -> None:
    runs = len(LONG.split()) - 12 + 1  # of thirteen words, and MIDDLE whole
    assert index.told() == (
        f"20 images and {runs} runs of words of evaluations; not looked for: damaged 3, short_text 1, unreadable 1"
    )
    assert build_index([MIDDLE], RULES).told() == "0 images and 1 run of words of evaluations; not looked for: none"


def test_an_image_is_found_in_any_encoding(index: EvaluationIndex) -> None:
    for seed in range(20):
        original = scene(seed)
        assert index.image_reason(picture(encoded(original))) == "evaluation_image"
        smaller = original.resize((120, 90), Image.Resampling.BICUBIC)
        assert index.image_reason(picture(encoded(smaller, "JPEG", quality=85))) == "evaluation_image"


def test_other_images_are_not(index: EvaluationIndex) -> None:
    assert [index.image_reason(picture(encoded(scene(seed)))) for seed in range(100, 130)] == [None] * 30


def test_colour_tells_images_of_one_shade_apart() -> None:
    def disc(colour: tuple[int, int, int]) -> bytes:
        rows, columns = np.mgrid[:120, :120]
        pixels = np.full((120, 120, 3), 250, np.uint8)
        pixels[(rows - 40) ** 2 + (columns - 50) ** 2 < 1500] = colour
        return encoded(Image.fromarray(pixels))

    index = build_index([disc((200, 30, 30))], RULES)
    assert index.image_reason(picture(disc((20, 124, 20)))) is None
    assert index.image_reason(picture(disc((196, 34, 30)))) == "evaluation_image"


def test_the_same_bytes_are_found_at_any_distance() -> None:
    data = encoded(scene(1))
    index = build_index([data], RULES.replace(max_distance=0))
    assert index.image_reason(picture(data)) == "evaluation_image"


def test_an_index_of_nothing_finds_nothing(tmp_path: Path) -> None:
    build_index([], RULES).save(tmp_path)
    index = load_index(tmp_path)
    assert index.text_reason(LONG) is None
    assert index.image_reason(picture(encoded(scene(1)))) is None


def test_an_index_on_disk_is_the_same(index: EvaluationIndex, tmp_path: Path) -> None:
    index.save(tmp_path)
    loaded = load_index(tmp_path)
    assert loaded.rules == index.rules
    assert loaded.left_out == index.left_out
    assert loaded.text_reason(LONG) == loaded.text_reason(MIDDLE) == "evaluation_text"
    assert loaded.text_reason(FILLER) is None
    assert loaded.image_reason(picture(encoded(scene(3), "WEBP", quality=90))) == "evaluation_image"
    (tmp_path / "hashes.npy").write_bytes(b"cut")
    with pytest.raises(UserError, match="build it again"):
        load_index(tmp_path)
