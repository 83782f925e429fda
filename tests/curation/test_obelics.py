"""The second profile: paragraph and document rules, repeated paragraphs of a site, keys of addresses and image sets."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from mm1.curation.function_words import FUNCTION_WORDS, share_of
from mm1.curation.images import OBELICS_IMAGES, ImageRules, StoredImage, inspect
from mm1.curation.interleaved import Assembled, DroppedDocument, PlacedImage, PlacedText
from mm1.curation.obelics import (
    DOCUMENT,
    PARAGRAPH,
    Judges,
    ObelicsRules,
    TextLimits,
    address_key,
    assemble_obelics,
    image_set_key,
    site_keys,
    site_of,
    text_reason,
    without_paragraphs,
)
from mm1.curation.obelics_measures import (
    character_repetition,
    punctuation,
    special_characters,
    word_repetition,
    words_of,
)
from mm1.curation.page import Block, Extracted, ImageRef, Paragraph
from mm1.curation.text.words import FLAGGED_WORDS
from tests.curation.pictures import encoded, scene

PROSE = (
    "The old lighthouse stands at the end of the pier, where the fishermen mend their nets in the morning.",
    "It was built by the town after a storm had taken three of its boats, and it has been lit ever since.",
    "Nobody lives in it now, but the keeper's daughter still climbs the stairs when the wind is from the west.",
)
RULES = ObelicsRules()


def test_shares_and_scores_at_the_limit_are_kept() -> None:
    text = "the porn " + "the house of " * 66
    limits = PARAGRAPH.replace(max_character_repetition=1, max_word_repetition=1, min_punctuation=0)
    assert share_of(words_of(text), FLAGGED_WORDS["en"]) == 1 / 200
    assert text_reason(text, limits.replace(max_flagged_words=1 / 200)) is None
    assert text_reason(text, limits.replace(max_flagged_words=1 / 201)) == "flagged_words"
    of, common = "the cat sat on the mat of our old house", ["the", "on", "of", "our", "cat", "sat", "mat"]
    assert text_reason(of, limits.replace(min_common_words=0.8), common) is None
    assert text_reason(of, limits.replace(min_common_words=0.81), common) == "uncommon_words"
    whole = page(" ".join(PROSE), ImageRef(FIRST))
    assert len(assemble_obelics(whole, look_up, RULES, Judges(lambda _: ("en", 0.8))).segments) == 2
    assert refused(whole, Judges(lambda _: ("en", 0.79))).reason == "language"


def test_the_numbers_are_those_of_obelics() -> None:
    """As its authors published them: a number that moves unseen makes another set."""
    both = {"character_run": 10, "max_character_repetition": 0.1, "word_run": 5, "max_flagged_words": 0.01}
    assert PARAGRAPH.model_dump() == {
        **both, "min_words": 4, "max_words": 1000, "max_word_repetition": 0.1, "max_special_characters": 0.3,
        "min_stop_words": 0.3, "min_punctuation": 0.001, "punctuated_from": 12, "min_common_words": 0.8,
    }  # fmt: skip
    assert DOCUMENT.model_dump() == {
        **both, "min_words": 10, "max_words": 2000, "max_word_repetition": 0.2, "max_special_characters": 0.275,
        "min_stop_words": 0.35, "min_punctuation": 0.03, "punctuated_from": 0, "min_common_words": 0.9,
    }  # fmt: skip
    rules = RULES.model_dump(exclude={"images", "paragraph", "document"})
    assert rules == {
        "kind": "obelics", "min_images": 1, "max_images": 30, "count": "kept", "min_language_score": 0.8,
        "max_perplexity": 1500, "min_common_documents": 10,
    }  # fmt: skip
    assert (RULES.images, RULES.paragraph, RULES.document) == (OBELICS_IMAGES, PARAGRAPH, DOCUMENT)


def english(text: str) -> tuple[str, float]:
    return "en", 0.9


JUDGES = Judges(english)


def stored(seed: int) -> StoredImage:
    data = encoded(scene(seed, 240, 180))
    return StoredImage(inspect(data, ImageRules()), data)


IMAGES = {f"https://a.example/{seed}.png": stored(seed) for seed in range(40)}
FIRST, SECOND, *_ = IMAGES


def look_up(url: str) -> StoredImage | str:
    return IMAGES.get(url, "timeout")


def page(*blocks: Block | str) -> Extracted:
    return Extracted("", "en", tuple(Paragraph(block) if isinstance(block, str) else block for block in blocks))


def words(document: Assembled) -> list[str]:
    return [part.text if isinstance(part, PlacedText) else part.url for part in document.segments]


@pytest.mark.parametrize(
    ("text", "limits", "expected"),
    [
        (PROSE[0], PARAGRAPH, None),
        (" ".join(PROSE), DOCUMENT, None),
        ("It is here", PARAGRAPH, "too_few_words"),
        ("It is here now", PARAGRAPH, None),
        ("the cat and dog were out " * 200, PARAGRAPH, "too_many_words"),
        ("It was the one that we had seen in it. " * 3, PARAGRAPH, "character_repetition"),
        ("Is it the 1, 2, 3, 4, 5, 6, 7 or 8?", PARAGRAPH, "special_characters"),
        ("Nikon Canon Sony Leica Olympus cameras lenses tripods", PARAGRAPH, "stop_words"),
        ("It is the porn that they have for you in the house", PARAGRAPH, "flagged_words"),
        ("it is the house of the man that we had seen when he was in it", PARAGRAPH, "punctuation"),
        ("it is the house of the man", PARAGRAPH, None),
        ("", PARAGRAPH, "too_few_words"),
    ],
)
def test_the_first_rule_that_is_broken(text: str, limits: TextLimits, expected: str | None) -> None:
    assert text_reason(text, limits) == expected


def test_repeated_words_in_other_characters() -> None:
    text = "Once upon a time it was so, ONCE upon A (time) IT was, and then they all went home to their beds."
    limits = PARAGRAPH.replace(max_word_repetition=0.05)
    assert text_reason(text, limits) == "word_repetition"
    assert text_reason(text, PARAGRAPH.replace(max_word_repetition=0.5)) is None


def test_documents_keep_stricter_rules_than_paragraphs() -> None:
    text = "the man walked slowly towards the old house, butter, eggs, bread and flour were left"
    assert text_reason(text, PARAGRAPH) is None
    assert text_reason(text, DOCUMENT) == "stop_words"


def test_limits_belong_to_what_they_allow() -> None:
    """Each limit set to exactly what is measured keeps the text, and a little stricter refuses it with its word."""
    text = "It was 1 of the cats that we had seen, and it was 1 of the cats that we had fed: damn it."
    words = words_of(text)
    measured: dict[str, tuple[float, float, str]] = {
        "min_words": (len(words), 1, "too_few_words"),
        "max_words": (len(words), -1, "too_many_words"),
        "max_character_repetition": (character_repetition(text, 10), -1e-6, "character_repetition"),
        "max_word_repetition": (word_repetition(words, 5), -1e-6, "word_repetition"),
        "max_special_characters": (special_characters(text), -1e-6, "special_characters"),
        "min_stop_words": (share_of(words, FUNCTION_WORDS), 1e-6, "stop_words"),
        "min_punctuation": (punctuation(text), 1e-6, "punctuation"),
    }
    exact = PARAGRAPH.replace(**{name: value for name, (value, _, _) in measured.items()})
    assert text_reason(text, exact) is None
    for name, (value, step, reason) in measured.items():
        assert text_reason(text, exact.replace(**{name: value + step})) == reason


def test_most_words_must_be_common_in_the_set() -> None:
    assert text_reason(PROSE[0], PARAGRAPH, {"the", "cat"}) == "uncommon_words"
    assert text_reason(PROSE[0], PARAGRAPH, set(PROSE[0].lower().replace(",", "").replace(".", "").split())) is None


def test_what_breaks_a_rule_is_taken_out_and_counted() -> None:
    made = assemble_obelics(
        page(
            PROSE[0],
            "Home",
            ImageRef(FIRST, caption="Photo: J. Doe"),
            PROSE[1],
            ImageRef(SECOND, caption=PROSE[2]),
            ImageRef("https://a.example/porn.png"),
            "Nikon Canon Sony Leica",
        ),
        look_up,
        RULES,
        JUDGES,
    )
    assert words(made) == [PROSE[0], FIRST, PROSE[1], SECOND, PROSE[2]]
    assert made.dropped_paragraphs == {"too_few_words": 2, "stop_words": 1}
    assert made.dropped_images == {"banned_url": 1}


def refused(blocks: Extracted, judges: Judges = JUDGES) -> DroppedDocument:
    with pytest.raises(DroppedDocument) as caught:
        assemble_obelics(blocks, look_up, RULES, judges)
    return caught.value


def test_documents_that_are_none() -> None:
    image = ImageRef(FIRST)
    assert refused(page(PROSE[0])).reason == "no_image"
    assert refused(page("Home", image)).reason == "no_text"
    assert refused(page(*PROSE, image), Judges(lambda text: ("de", 0.9))).reason == "language"
    assert refused(page(*PROSE, image), Judges(lambda text: ("en", 0.79))).reason == "language"
    assert refused(page(*PROSE, image), Judges(english, lambda text: 1500.1)).reason == "perplexity"
    assert assemble_obelics(page(*PROSE, image), look_up, RULES, Judges(english, lambda text: 1500))
    error = refused(page("It is now here again.", "Home", image, ImageRef("x:gone")))
    assert error.reason == "too_few_words"
    assert error.dropped_images == {"document_dropped": 1, "timeout": 1}
    assert error.dropped_paragraphs == {"too_few_words": 1}


def test_images_count_once_they_are_fit() -> None:
    gone = [ImageRef(f"x:{number}") for number in range(40)]
    assert assemble_obelics(page(*PROSE, ImageRef(FIRST), *gone), look_up, RULES, JUDGES)
    error = refused(page(*PROSE, *[ImageRef(url) for url in list(IMAGES)[:31]]))
    assert error.reason == "too_many_images"


def document(*parts: str) -> Assembled:
    return Assembled(
        tuple(PlacedImage(part, "", IMAGES[part]) if part in IMAGES else PlacedText(part) for part in parts)
    )


def test_paragraphs_of_the_site_are_taken_out() -> None:
    made = document("One.\n\nSubscribe 1!", FIRST, "Subscribe 2!", SECOND, "Two.")
    keys = site_keys(made.segments, "https://a.example/page")
    assert len(keys) == 4
    assert keys[1] == keys[2]
    assert keys[1] not in site_keys(made.segments, "https://b.example/page")
    left = without_paragraphs(made, keys != keys[1], RULES)
    assert words(left) == ["One.", FIRST, SECOND, "Two."]
    assert left.dropped_paragraphs == {"repeated_on_site": 2}
    assert words(without_paragraphs(made, np.ones(4, bool), RULES)) == words(made)
    with pytest.raises(DroppedDocument, match="no_text"):
        without_paragraphs(made, np.zeros(4, bool), RULES)


def test_a_site_is_its_host() -> None:
    assert site_of("https://joe:secret@A.Example:8080/b") == "a.example:8080"
    assert site_of("local:a/b.html") == ""


def test_keys_of_addresses_and_of_image_sets() -> None:
    assert address_key("https://a.example/b#c") == address_key("https://a.example/b")
    assert address_key("https://a.example/b?c") != address_key("https://a.example/b")
    one, other = document("a", FIRST, SECOND), document(SECOND, "b", FIRST)
    assert image_set_key(one) == image_set_key(other)
    assert image_set_key(one) != image_set_key(document("a", FIRST))
    data = b"".join(len(url).to_bytes(8, "big") + url.encode() for url in sorted(IMAGES))
    reference = int.from_bytes(hashlib.sha1(data).digest()[:8], "big")
    assert image_set_key(document("a", *IMAGES)) == image_set_key(document("a", *reversed(IMAGES))) == reference
