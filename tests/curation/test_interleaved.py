"""A page becomes a document with its images in their places, and every image of every page is accounted for."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.images import OBELICS_IMAGES, ImageRules, StoredImage, inspect
from mm1.curation.interleaved import (
    Assembled,
    DroppedDocument,
    InterleavedRules,
    PlacedImage,
    PlacedText,
    assemble,
    page_reason,
)
from mm1.curation.page import Block, Extracted, ImageRef, Paragraph
from tests.curation.pictures import encoded, scene

ANY_SIZE = ImageRules(min_side=1)


def stored(seed: int, width: int = 160, height: int = 120) -> StoredImage:
    data = encoded(scene(seed, width, height))
    return StoredImage(inspect(data, ANY_SIZE), data)


IMAGES = {f"https://a.example/{seed}.png": stored(seed) for seed in range(6)}
IMAGES["https://b.example/copy-of-0.png"] = IMAGES["https://a.example/0.png"]
IMAGES["https://b.example/small.png"] = stored(7, 110, 90)
FIRST, SECOND = "https://a.example/0.png", "https://a.example/1.png"


def look_up(url: str) -> StoredImage | str:
    return IMAGES.get(url, "timeout")


def page(*blocks: Block | str) -> Extracted:
    return Extracted("", "en", tuple(Paragraph(block) if isinstance(block, str) else block for block in blocks))


def words(document: Assembled) -> list[str]:
    return [part.text if isinstance(part, PlacedText) else part.url for part in document.segments]


def test_the_numbers_are_those_of_the_paper() -> None:
    expected = {"kind": "mm1", "min_images": 1, "max_images": 30, "count": "found"}
    assert InterleavedRules().model_dump(exclude={"images"}) == expected
    assert InterleavedRules().images == ImageRules()


def test_images_stand_in_their_places() -> None:
    made = assemble(
        page("Once", "upon", ImageRef(FIRST, alt="a cat"), "a", ImageRef(SECOND), "time"), look_up, InterleavedRules()
    )
    assert words(made) == ["Once\n\nupon", FIRST, "a", SECOND, "time"]
    image = made.segments[1]
    assert isinstance(image, PlacedImage)
    assert image.alt == "a cat"
    assert image.image is IMAGES[FIRST]
    assert not made.dropped_images


def test_a_caption_follows_its_image_and_goes_with_it() -> None:
    blocks = (
        "Once",
        ImageRef(FIRST, alt="alt", caption="A cat"),
        "upon",
        ImageRef("x:gone", caption="A dog"),
        "a time",
    )
    assert words(assemble(page(*blocks), look_up, InterleavedRules())) == ["Once", FIRST, "A cat\n\nupon\n\na time"]


def test_texts_on_both_sides_of_a_dropped_image_become_one() -> None:
    made = assemble(page("a", ImageRef("x:gone"), "", " ", "b", ImageRef(FIRST)), look_up, InterleavedRules())
    assert words(made) == ["a\n\nb", FIRST]
    assert made.dropped_images == {"timeout": 1}


def test_only_the_first_occurrence_stays() -> None:
    copy = "https://b.example/copy-of-0.png"
    made = assemble(page("a", ImageRef(copy), ImageRef(FIRST), "b", ImageRef(copy)), look_up, InterleavedRules())
    assert words(made) == ["a", copy, "b"]
    assert made.dropped_images == {"repeated": 2}


def test_every_rule_counts_with_its_own_word() -> None:
    blocks = (
        "text",
        ImageRef(FIRST),
        ImageRef("https://a.example/logo.png"),
        ImageRef("https://b.example/small.png"),
        ImageRef("x:gone"),
        ImageRef(SECOND, width=20),
    )
    made = assemble(page(*blocks), look_up, InterleavedRules())
    assert made.dropped_images == {"banned_url": 1, "small": 1, "timeout": 1}
    rules = InterleavedRules(images=OBELICS_IMAGES.replace(min_side=50))
    made = assemble(page(*blocks), look_up, rules)
    assert made.dropped_images == {"banned_url": 1, "declared_small": 1, "timeout": 1}


def attempt(blocks: Extracted, rules: InterleavedRules) -> Assembled | DroppedDocument:
    try:
        return assemble(blocks, look_up, rules)
    except DroppedDocument as error:
        return error


def refused(blocks: Extracted, rules: InterleavedRules) -> tuple[str, dict[str, int]]:
    error = attempt(blocks, rules)
    assert isinstance(error, DroppedDocument)
    return error.reason, dict(error.dropped_images)


def test_documents_that_are_none() -> None:
    rules = InterleavedRules()
    assert refused(page("only text"), rules) == ("no_image", {})
    assert refused(page("a", ImageRef("x:gone")), rules) == ("no_image_left", {"timeout": 1})
    assert refused(page(ImageRef(FIRST), ImageRef(FIRST)), rules) == ("no_text", {"repeated": 1, "document_dropped": 1})
    gone = [ImageRef(f"x:{number}") for number in range(31)]
    assert refused(page("a", ImageRef(FIRST), *gone), rules) == ("too_many_images", {"document_dropped": 32})
    rules = InterleavedRules(min_images=2)
    assert refused(page("a", ImageRef(FIRST)), rules) == ("no_image_left", {"document_dropped": 1})


def test_thirty_are_not_too_many_and_repeats_are_one() -> None:
    blocks = page("a", ImageRef(FIRST), *[ImageRef(f"x:{number % 29}") for number in range(40)])
    assert page_reason(blocks, InterleavedRules()) is None
    assert assemble(blocks, look_up, InterleavedRules()).dropped_images == {"timeout": 29, "repeated": 11}


def test_which_images_count_is_a_rule() -> None:
    rules = InterleavedRules(max_images=2, count="kept")
    gone = [ImageRef(f"x:{number}") for number in range(9)]
    both = [ImageRef(FIRST), ImageRef(SECOND)]
    assert page_reason(page("a", *both, *gone), rules) is None
    assert words(assemble(page("a", *both, *gone), look_up, rules)) == ["a", FIRST, SECOND]
    third = ImageRef("https://a.example/2.png")
    assert refused(page("a", *both, third), rules) == ("too_many_images", {"document_dropped": 3})
    assert refused(page("a", *both, *gone), rules.replace(count="found"))[0] == "too_many_images"


URLS = st.sampled_from([*IMAGES, "x:gone", "https://a.example/logo.png", "https://a.example/8.png"])
BLOCKS = st.one_of(
    st.builds(Paragraph, st.sampled_from(["", " ", "one", "two words"])),
    st.builds(ImageRef, URLS, alt=st.just("alt"), caption=st.sampled_from(["", "caption"])),
)


@settings(max_examples=200, deadline=None)
@given(blocks=st.lists(BLOCKS, max_size=12), maximum=st.integers(1, 4), count=st.sampled_from(["found", "kept"]))
def test_every_image_is_placed_or_counted(blocks: list[Block], maximum: int, count: str) -> None:
    given_page = Extracted("", "en", tuple(blocks))
    rules = InterleavedRules(max_images=maximum).replace(count=count)
    made = attempt(given_page, rules)
    assert all(number > 0 for number in made.dropped_images.values())
    if isinstance(made, DroppedDocument):
        assert sum(made.dropped_images.values()) == len(given_page.images)
        return
    placed = [part for part in made.segments if isinstance(part, PlacedImage)]
    assert len(placed) + sum(made.dropped_images.values()) == len(given_page.images)
    assert 1 <= len(placed) <= maximum
    kinds = [isinstance(part, PlacedText) for part in made.segments]
    assert any(kinds)
    assert not any(one and other for one, other in pairwise(kinds))
    digests = [part.image.picture.md5 for part in placed]
    assert len(set(digests)) == len(digests)
    order = [block.url for block in given_page.images]
    assert [order.index(part.url) for part in placed] == sorted(order.index(part.url) for part in placed)
