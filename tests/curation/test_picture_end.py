"""A picture ends where its own blocks say, whatever is inside them and whatever follows."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from mm1.curation.picture_end import picture_end
from mm1.data.image import ImageFormat
from tests.curation.pictures import FORMATS, encoded, scene

THUMBNAIL = encoded(scene(3, 40, 30), "JPEG")


def _text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add(b"noTe", b"IEND" * 20, after_idat=True)
    return info


VARIANTS: list[tuple[ImageFormat, str, dict[str, Any]]] = [
    ("JPEG", "RGB", {"progressive": True}),
    ("JPEG", "RGB", {"restart_marker_blocks": 3}),
    ("JPEG", "CMYK", {"quality": 20}),
    ("JPEG", "L", {"comment": b"\xff\xd9 in a comment"}),
    ("JPEG", "RGB", {"exif": b"Exif\0\0" + THUMBNAIL}),
    ("PNG", "P", {}),
    ("PNG", "RGB", {"pnginfo": _text()}),
    ("GIF", "P", {"interlace": 1}),
    ("GIF", "P", {"transparency": 3, "comment": b";;; \x3b"}),
    ("GIF", "L", {}),
    ("WEBP", "RGB", {"lossless": True}),
    ("WEBP", "RGBA", {"exif": b"Exif\0\0odd"}),
    ("BMP", "1", {}),
    ("BMP", "L", {}),
    ("BMP", "P", {}),
    ("BMP", "RGB", {}),
    ("BMP", "RGBA", {}),
]


@pytest.mark.parametrize(("format", "mode", "options"), VARIANTS)
@pytest.mark.parametrize("width", [160, 37])
def test_the_end_is_the_last_byte(format: ImageFormat, mode: str, options: dict[str, Any], width: int) -> None:
    data = encoded(scene(0, width, 31).convert(mode), format, **options)
    assert picture_end(data, format) == len(data)
    assert picture_end(data + b"\xff\xd9\0more\x3b", format) == len(data)
    assert picture_end(data[:-1], format) is None


def test_padding_before_a_marker_is_skipped() -> None:
    data = encoded(scene(), "JPEG")
    assert picture_end(data[:-2] + b"\xff\xff\xff" + data[-2:], "JPEG") == len(data) + 3


def test_a_bitmap_may_lie_about_its_length_and_stand_on_its_head() -> None:
    data = bytearray(encoded(scene(0, 33, 20), "BMP"))
    data[2:6] = struct.pack("<I", 12)
    data[22:26] = struct.pack("<i", -20)
    assert Image.open(io.BytesIO(bytes(data))).size == (33, 20)
    assert picture_end(bytes(data) + b"zip", "BMP") == len(data)


@settings(max_examples=300, deadline=None)
@given(format=st.sampled_from(FORMATS), start=st.integers(0, 60), more=st.binary(max_size=300))
def test_any_bytes_end_somewhere_or_nowhere(format: ImageFormat, start: int, more: bytes) -> None:
    data = encoded(scene(0, 20, 20), format)[:start] + more
    end = picture_end(data, format)
    assert end is None or 0 <= end <= len(data)


@pytest.mark.parametrize("start", [0, 54])
def test_pixels_of_a_bmp_that_begin_where_its_colours_are_are_all_kept(start: int) -> None:
    data = bytearray(encoded(scene(0, 33, 20).convert("P"), "BMP"))
    data[10:14] = start.to_bytes(4, "little")  # readers take what follows the colours
    assert picture_end(bytes(data), "BMP") == len(data)


def test_sides_of_an_old_bmp_have_no_sign() -> None:
    data = b"BM" + struct.pack("<IIIIHHHH", 0, 0, 26, 12, 40_000, 1, 1, 24) + bytes(120_000)
    assert picture_end(data + b"zip", "BMP") == len(data)
