"""What pages say of their images becomes pairs; every image of a page is a pair or counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.captions import CaptionRules, Chosen, Pairs, choose, pairs, text_key
from mm1.curation.images import ImageRules, StoredImage, inspect
from mm1.curation.page import Extracted, ImageRef, Paragraph
from tests.curation.pictures import encoded, scene

RULES = CaptionRules()
ALT, CAPTION = "A red bicycle by a wall", "The bicycle of my grandmother leans on a wall in Pisa"


def stored(seed: int) -> StoredImage:
    data = encoded(scene(seed))
    return StoredImage(inspect(data, ImageRules()), data)


IMAGES = {f"https://a.example/{seed}.png": stored(seed) for seed in range(3)}
IMAGES["https://a.example/copy.png"] = IMAGES["https://a.example/0.png"]
FIRST, SECOND = "https://a.example/0.png", "https://a.example/1.png"


def english(text: str) -> tuple[str, float]:
    return "en", 0.9


def look_up(url: str) -> StoredImage | str:
    return IMAGES.get(url, "not_found")


def of(*images: ImageRef) -> Pairs:
    return pairs(Extracted("", "en", (Paragraph("text"), *images)), look_up, RULES, english)


def test_the_numbers_are_those_that_are_told() -> None:
    assert (RULES.prefer, RULES.max_occurrences, RULES.max_distance) == ("longer", 10, 6)
    assert RULES.images == ImageRules()


def test_both_texts_are_kept_and_the_longer_is_the_pairs() -> None:
    (pair,) = of(ImageRef(FIRST, alt=ALT, caption=CAPTION)).pairs
    assert (pair.url, pair.text, pair.chosen, pair.alt, pair.caption) == (FIRST, CAPTION, "caption", ALT, CAPTION)
    assert pair.image is IMAGES[FIRST]


@pytest.mark.parametrize(
    ("alt", "caption", "prefer", "expected"),
    [
        (ALT, CAPTION, "longer", "caption"),
        (CAPTION, ALT, "longer", "alt"),
        (ALT, ALT, "longer", "caption"),
        (ALT, CAPTION, "alt", "alt"),
        (CAPTION, ALT, "caption", "caption"),
        (ALT, "", "caption", "alt"),
        ("logo", CAPTION, "alt", "caption"),
        (ALT, "Figure 3", "longer", "alt"),
    ],
)
def test_which_text_is_chosen(alt: str, caption: str, prefer: str, expected: str) -> None:
    chosen = choose(ImageRef(FIRST, alt=alt, caption=caption), RULES.replace(prefer=prefer), english)
    assert isinstance(chosen, Chosen)
    assert chosen.kind == expected
    assert chosen.text == {"alt": alt, "caption": caption}[expected]


@pytest.mark.parametrize(
    ("alt", "caption", "expected"),
    [
        ("", "", "no_text"),
        ("IMG_2041.jpg", "", "file_name"),
        ("IMG_2041.jpg", "Click to enlarge", "generic"),
        ("logo", "", "generic"),
        (" ", "two words", "too_few_words"),
    ],
)
def test_why_no_text_is_chosen(alt: str, caption: str, expected: str) -> None:
    assert choose(ImageRef(FIRST, alt=alt, caption=caption), RULES, english) == expected


def test_images_without_a_fit_text_are_never_looked_up() -> None:
    def never(url: str) -> StoredImage | str:
        raise AssertionError(url)

    page = Extracted("", "en", (ImageRef(FIRST), ImageRef(SECOND, alt="logo")))
    assert pairs(page, never, RULES, english).dropped == {"no_text": 1, "generic": 1}


def test_an_address_that_made_a_pair_is_not_looked_up_again() -> None:
    asked: list[str] = []

    def counted(url: str) -> StoredImage | str:
        asked.append(url)
        return look_up(url)

    page = Extracted("", "en", (ImageRef(FIRST, alt=ALT), ImageRef(FIRST, alt=CAPTION)))
    assert pairs(page, counted, RULES, english).dropped == {"repeated": 1}
    assert asked == [FIRST]


@pytest.mark.parametrize("theirs", [ALT, CAPTION])
def test_an_image_of_which_either_text_is_an_evaluation_s_makes_no_pair(theirs: str) -> None:
    page = Extracted("", "en", (ImageRef(FIRST, alt=ALT, caption=CAPTION), ImageRef(SECOND, alt="A quiet green lake")))
    found = pairs(page, look_up, RULES, english, evaluated=lambda text: text == theirs)
    assert [pair.url for pair in found.pairs] == [SECOND]
    assert found.dropped == {"evaluation_text": 1}


def test_images_keep_the_rules_of_images() -> None:
    found = of(
        ImageRef("https://a.example/logo.png", alt=ALT),
        ImageRef("https://a.example/gone.png", alt=ALT),
        ImageRef(FIRST, alt="logo"),
        ImageRef(FIRST, alt=ALT),
        ImageRef(FIRST, alt=CAPTION),
        ImageRef("https://a.example/copy.png", alt=CAPTION),
        ImageRef(SECOND, alt=CAPTION),
    )
    assert [pair.url for pair in found.pairs] == [FIRST, SECOND]
    assert found.dropped == {"banned_url": 1, "not_found": 1, "generic": 1, "repeated": 2}


def test_boilerplate_is_known_by_its_words() -> None:
    assert text_key("Photo 1 of 9: Our HOUSE") == text_key("photo 2 of 12 — our house!")
    assert text_key("our house") != text_key("our horse")
    page = Extracted("", "en", (ImageRef(FIRST, alt=ALT, caption=CAPTION), ImageRef(SECOND, alt=CAPTION)))
    common = {text_key(CAPTION)}
    found = pairs(page, look_up, RULES, english, lambda text: text_key(text) in common)
    assert [pair.text for pair in found.pairs] == [ALT]
    assert found.dropped == {"common": 1}


TEXTS = st.sampled_from(["", "logo", ALT, CAPTION, "photo.jpg", "&amp;"])


@settings(max_examples=100, deadline=None)
@given(images=st.lists(st.builds(ImageRef, st.sampled_from([*IMAGES, "x:gone"]), alt=TEXTS, caption=TEXTS), max_size=8))
def test_every_image_is_a_pair_or_counted(images: list[ImageRef]) -> None:
    found = of(*images)
    assert len(found.pairs) + sum(found.dropped.values()) == len(images)
    assert all(number > 0 for number in found.dropped.values())
    digests = [pair.image.picture.md5 for pair in found.pairs]
    assert len(digests) == len(set(digests))
