"""Of pairs of one image the best stays, whichever way the bucket was filled."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mm1.curation.images import ImageRules, inspect
from mm1.curation.repeated_images import Candidate, repeated
from mm1.data.perceptual import Look
from tests.curation.pictures import encoded, scene

ANY = ImageRules(min_side=1)


def candidate(id: str, data: bytes, text: str = "some words") -> Candidate:
    picture = inspect(data, ANY)
    return Candidate(id, text, picture.width * picture.height, picture.md5, picture.look)


ORIGINAL = encoded(scene(1))
SMALLER = encoded(scene(1).resize((120, 90)), "JPEG", quality=80)
OTHER = encoded(scene(2))


def test_the_largest_picture_stays() -> None:
    bucket = [candidate("a", SMALLER, "many more words than that"), candidate("b", ORIGINAL), candidate("c", OTHER)]
    assert repeated(bucket, 6) == ["a"]


def test_of_equal_pictures_the_longest_text_stays_then_the_first() -> None:
    bucket = [candidate("a", ORIGINAL), candidate("c", ORIGINAL, "three words here"), candidate("b", ORIGINAL, "a b c")]
    assert repeated(bucket, 6) == ["c", "a"]


def test_the_same_bytes_are_one_image_at_any_distance() -> None:
    assert repeated([candidate("a", ORIGINAL), candidate("b", ORIGINAL), candidate("c", SMALLER)], 0)[0] == "b"


def test_colour_tells_images_of_one_shade_apart() -> None:
    def disc(id: str, colour: int) -> Candidate:
        return Candidate(id, "some words", 100, id.encode() * 16, Look(0x1234, bytes([colour, 90, 90] * 64)))

    assert repeated([disc("a", 20), disc("b", 30)], 6) == ["b"]
    assert repeated([disc("a", 20), disc("b", 200)], 6) == []


@pytest.mark.parametrize(("changed", "expected"), [(0b111111, ["b"]), (0b1111111, [])])
def test_hashes_may_be_so_far_apart(changed: int, expected: list[str]) -> None:
    bucket = [
        Candidate(id, "some words", 100, id.encode() * 16, Look(hash, bytes(192)))
        for id, hash in (("a", 0), ("b", changed))
    ]
    assert repeated(bucket, 6) == expected


MANY = [candidate(f"{place}", encoded(scene(place % 80, 60, 40))) for place in range(100)]


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(MANY))
def test_the_order_does_not_matter(order: list[Candidate]) -> None:
    assert repeated(order, 6) == repeated(MANY, 6)
    assert len(repeated(order, 6)) >= 20
