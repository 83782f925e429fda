"""Every byte of an image is looked at; what is not fit for a set has a reason, and what trails a picture is cut off."""

from __future__ import annotations

import base64
import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mm1.curation.images import (
    MM1_IMAGES,
    OBELICS_IMAGES,
    ImageRules,
    Picture,
    declared_reason,
    inspect,
    picture_reason,
    url_reason,
)
from mm1.curation.page import Dropped, ImageRef
from mm1.data.image import EncodedImage, read_image
from mm1.data.perceptual import SIDE, alike, look
from tests.curation.pictures import FORMATS, encoded, scene

FILES = {format: encoded(scene(), format) for format in FORMATS}
ANY_SIZE = ImageRules(min_side=1, max_aspect=1000)


def reason(data: bytes, rules: ImageRules = MM1_IMAGES) -> str | None:
    try:
        inspect(data, rules)
    except Dropped as error:
        return error.reason
    return None


def test_the_numbers_are_those_of_the_papers() -> None:
    a1 = ("logo", "button", "icon", "plugin", "widget")
    assert MM1_IMAGES.model_dump(exclude={"formats", "max_pixels"}) == {
        "min_side": 100, "max_side": 10_000, "max_aspect": 2, "ban_words": a1, "max_occurrences": 10,
        "declared_size": False,
    }  # fmt: skip
    assert OBELICS_IMAGES.model_dump(exclude={"max_pixels"}) == {
        "formats": ("JPEG", "PNG", "WEBP"), "min_side": 150, "max_side": 20_000, "max_aspect": 2,
        "ban_words": (*a1, "porn", "xxx", "sex"), "max_occurrences": 10, "declared_size": True,
    }  # fmt: skip


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_is_described(format: str) -> None:
    data = FILES[format]
    found = inspect(data, MM1_IMAGES)
    assert (found.format, found.width, found.height, found.num_bytes) == (format, 160, 120, len(data))
    assert found.md5 == hashlib.md5(data).digest()
    assert alike(found.look, look(read_image(data, SIDE)))
    assert picture_reason(found, MM1_IMAGES) is None


@pytest.mark.parametrize("format", FORMATS)
def test_a_picture_that_was_cut_anywhere_is_none(format: str) -> None:
    data = FILES[format]
    ends = {*range(64), *range(len(data) - 64, len(data)), *range(64, len(data), max(1, len(data) // 100))}
    assert {reason(data[:end]) for end in sorted(ends)} <= {"corrupt", "unreadable"}


@settings(max_examples=50, deadline=None)
@given(
    format=st.sampled_from(FORMATS),
    more=st.one_of(
        st.binary(min_size=1, max_size=40), st.sampled_from([b"PK\x03\x04zip", b"<html><script>", b"\0" * 99])
    ),
)
def test_what_trails_a_picture_is_no_part_of_it(format: str, more: bytes) -> None:
    data = FILES[format]
    assert inspect(data + more, MM1_IMAGES) == inspect(data, MM1_IMAGES)


@settings(max_examples=300, deadline=None)
@given(
    format=st.sampled_from(FORMATS),
    changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=6),
)
def test_broken_bytes_give_a_picture_or_a_reason(format: str, changes: list[tuple[float, int]]) -> None:
    data = bytearray(FILES[format])
    for place, value in changes:
        data[int(place * len(data))] = value
    why = reason(bytes(data), ANY_SIZE)
    assert why in {None, "corrupt", "unreadable", "too_many_pixels", "animated", "large", "aspect", "polyglot"}
    if why is None:
        found = inspect(bytes(data), ANY_SIZE)
        assert inspect(bytes(data[: found.num_bytes]), ANY_SIZE) == found


def test_bombs_are_refused_by_their_header(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("pixels were asked for")

    monkeypatch.setattr(EncodedImage, "squashed", never)
    rules = ImageRules(max_side=1 << 20)
    assert reason(_png(60_000, 60_000), rules) == "too_many_pixels"
    assert reason(_png(300, 99)) == "small"
    assert reason(_png(10_001, 6_000)) == "large"
    assert reason(_png(300, 149)) == "aspect"
    assert reason(FILES["GIF"], OBELICS_IMAGES) == "format"


def _png(width: int, height: int) -> bytes:
    """A PNG whose header promises much and whose pixels are few."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def test_limits_belong_to_what_they_allow() -> None:
    assert reason(encoded(scene(width=200, height=100))) is None
    assert reason(encoded(scene(width=100, height=200))) is None
    assert reason(encoded(scene(width=201, height=100))) == "aspect"
    assert reason(encoded(scene(width=100, height=201))) == "aspect"
    assert reason(encoded(scene(width=150, height=99))) == "small"
    assert reason(encoded(scene(width=300, height=149)), OBELICS_IMAGES) == "small"
    assert reason(encoded(scene(width=300, height=150)), OBELICS_IMAGES) is None
    exact = ImageRules(max_side=200, max_pixels=20_000)
    assert reason(encoded(scene(width=200, height=100)), exact) is None
    assert reason(encoded(scene(width=101, height=199)), exact) == "too_many_pixels"


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP"])
def test_films_are_no_pictures(format: str) -> None:
    frames = [scene(seed) for seed in range(3)]
    film = encoded(frames[0], format, save_all=True, append_images=frames[1:], duration=100)
    assert reason(film) == "animated"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<svg xmlns='http://www.w3.org/2000/svg' width='200' height='200'/>",
        b"<!doctype html><html><body>404</body></html>",
        b"%PDF-1.4",
        b"II*\0" + bytes(100),
    ],
)
def test_what_is_no_picture_is_unreadable(data: bytes) -> None:
    assert reason(data) == "unreadable"


@pytest.mark.parametrize(
    "markup", [b"<script>alert(1)</script>", b"<HTML >", b"<?PHP echo 1;", b"<!DOCTYPE html>", b"<iframe src=a>"]
)
def test_pages_in_pictures_are_refused(markup: bytes) -> None:
    gif, jpeg = FILES["GIF"], FILES["JPEG"]
    comment = b"\x21\xfe" + bytes([len(markup)]) + markup + b"\0"
    colours = 13 + 3 * 2 ** ((gif[10] & 7) + 1)
    assert reason(gif[:colours] + comment + gif[colours:]) == "polyglot"
    assert reason(jpeg[:2] + b"\xff\xfe" + struct.pack(">H", len(markup) + 2) + markup + jpeg[2:]) == "polyglot"


def test_a_gif_whose_header_opens_a_comment_of_script() -> None:
    """GIF89a/* … */=1; is a picture of 10,799 columns to one program and JavaScript to another."""
    gif = FILES["GIF"]
    script = gif[:6] + b"/*" + gif[8:] + b"*/=1;alert(1)"
    assert reason(script) == "large"


def test_words_of_metadata_are_no_markup() -> None:
    xmp = b"http://ns.adobe.com/xap/1.0/\0<?xpacket begin=''?><x:xmpmeta><rdf:RDF/></x:xmpmeta>"
    jpeg = FILES["JPEG"]
    assert reason(jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(xmp) + 2) + xmp + jpeg[2:]) is None


def test_sizes_are_those_that_a_viewer_shows() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(scene(), "JPEG", exif=exif)
    found = inspect(data, MM1_IMAGES)
    assert (found.width, found.height) == (120, 160)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert alike(found.look, inspect(encoded(upright), MM1_IMAGES).look)


def test_of_two_views_in_one_file_the_first_is_the_picture() -> None:
    both = encoded(scene(1), "MPO", save_all=True, append_images=[scene(2)])
    found = inspect(both, MM1_IMAGES)
    assert found.format == "JPEG"
    assert found.num_bytes < len(both)
    assert inspect(both[: found.num_bytes], MM1_IMAGES) == found
    assert alike(found.look, inspect(encoded(scene(1)), MM1_IMAGES).look)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16"])
def test_any_mode_looks_as_a_viewer_shows_it(mode: str) -> None:
    if mode == "I;16":
        picture = Image.fromarray((np.asarray(scene().convert("L")).astype(np.uint16)) * 257)
    else:
        picture = scene().convert(mode)
    if mode in ("LA", "RGBA"):
        alpha = np.zeros((120, 160), np.uint8)
        alpha[:, :100] = 255
        picture.putalpha(Image.fromarray(alpha))
    data = encoded(picture)
    assert alike(inspect(data, MM1_IMAGES).look, look(read_image(data, SIDE)))


def test_what_is_transparent_has_no_colour() -> None:
    def half(hidden: tuple[int, int, int]) -> Picture:
        pixels = np.full((120, 120, 4), 255, np.uint8)
        pixels[:, :60, :3] = scene(width=60).convert("RGB")
        pixels[:, 60:] = (*hidden, 0)
        return inspect(encoded(Image.fromarray(pixels)), MM1_IMAGES)

    assert half((0, 0, 0)).look == half((255, 40, 0)).look


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://a.example/photos/cat.jpg", None),
        ("https://a.example/Site-LOGO.png", "banned_url"),
        ("https://a.example/silicon.png", "banned_url"),
        ("https://icons.example/cat.jpg", "banned_url"),
        ("https://a.example/%6Cogo.png", "banned_url"),
        ("https://a.example/cat.jpg?widget=1", "banned_url"),
        ("local:images/button.png", "banned_url"),
        ("https://a.example/sussex.jpg", None),
    ],
)
def test_addresses(url: str, expected: str | None) -> None:
    assert url_reason(url, MM1_IMAGES) == expected


def test_obelics_bans_more_words() -> None:
    assert url_reason("https://a.example/sussex.jpg", OBELICS_IMAGES) == "banned_url"
    rules = MM1_IMAGES.replace(ban_words=("Banner",))
    assert url_reason("https://a.example/BANNER.jpg", rules) == "banned_url"


def test_data_has_no_name() -> None:
    url = "data:image/png;base64," + base64.b64encode(b"\x8a\x89\x28\x9e").decode() + "icon"
    assert url_reason(url, MM1_IMAGES) is None
    assert url_reason(url.replace("data:", "DATA:"), MM1_IMAGES) is None


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (None, None, None),
        (150, None, None),
        (149, None, "declared_small"),
        (None, 1, "declared_small"),
        (20_001, None, "declared_large"),
        (400, 200, None),
        (401, 200, "declared_aspect"),
        (200, 401, "declared_aspect"),
        (5000, None, None),
    ],
)
def test_declared_sizes_count_for_obelics_alone(width: int | None, height: int | None, expected: str | None) -> None:
    image = ImageRef("https://a.example/a.jpg", width=width, height=height)
    assert declared_reason(image, OBELICS_IMAGES) == expected
    assert declared_reason(image, MM1_IMAGES) is None


def test_other_rules_are_asked_of_a_picture_without_its_bytes() -> None:
    small = inspect(FILES["PNG"], MM1_IMAGES)
    assert picture_reason(small, OBELICS_IMAGES) == "small"
    assert picture_reason(inspect(FILES["GIF"], MM1_IMAGES), OBELICS_IMAGES) == "format"
    assert picture_reason(small, ImageRules(max_pixels=100)) == "too_many_pixels"


def test_a_jpeg_of_endless_scans_is_refused_before_its_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(scene(), "JPEG", progressive=True)
    many = data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 200 + data[-2:]
    monkeypatch.setattr(EncodedImage, "squashed", lambda *_: pytest.fail("pixels were asked for"))
    assert reason(many) == "corrupt"
