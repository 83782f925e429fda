"""Small files that would cost a decoder gigabytes or minutes are refused first, and no ordinary one is."""

from __future__ import annotations

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import GifImagePlugin, Image, PngImagePlugin

from mm1.data import image as image_module
from mm1.data.image import BadImage, EncodedImage, check_header, decode_sub_images, upright_size
from mm1.data.picture_blocks import MAX_BLOCKS, MAX_SCANS, too_many_blocks
from mm1.data.sub_images import WHOLE


def encoded(format: str, mode: str = "RGB", side: int = 200, **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


JPEG, PNG, GIF = encoded("JPEG"), encoded("PNG"), encoded("GIF", "P")
PROGRESSIVE = encoded("JPEG", progressive=True)
COLOURS = 13 + (3 << ((GIF[10] & 7) + 1))
PIXELS = PNG.index(b"IDAT") - 4
LAST_SCAN = PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2]


def scans(count: int, after: bytes = b"") -> bytes:
    """A JPEG of so many scans."""
    there = PROGRESSIVE.count(b"\xff\xda")
    return PROGRESSIVE[:-2] + LAST_SCAN * (count - there) + b"\xff\xd9" + after


MANY = MAX_BLOCKS + 1
BOMBS = {
    "GIF of a comment of tiny blocks": GIF[:COLOURS] + b"!\xfe" + b"\1x" * MANY + b"\0" + GIF[COLOURS:],
    "GIF of comments": GIF[:COLOURS] + b"!\xfe\1x\0" * MANY + GIF[COLOURS:],
    "GIF of empty extensions": GIF[:COLOURS] + b"!\xfe\0" * MANY + GIF[COLOURS:],
    "GIF of comments behind its pixels": GIF[:-1] + b"!\xfe\1x\0" * MANY + b";",
    "GIF of junk": GIF[:COLOURS] + b"\xff" * 100_000 + GIF[COLOURS:],
    "GIF of tiny blocks of pixels": GIF[: GIF.rindex(b",") + 11] + b"\1x" * 20_000 + b"\0;",
    "JPEG of comments": JPEG[:2] + b"\xff\xfe\0\2" * MANY + JPEG[2:],
    "JPEG of markers without content": JPEG[:2] + b"\xff\xd0" * MANY + JPEG[2:],
    "JPEG of comments that a length of no meaning hides": JPEG[:2] + b"\xff\xf0\xff\xff" + b"\xff\xfe\0\2" * MANY,
    "JPEG of padding": JPEG[:2] + b"\xff" * 100_000 + JPEG[2:],
    "JPEG of junk": JPEG[:2] + b"\xff\xfe\0\2" + bytes(100_000) + JPEG[2:],
    "JPEG of scans": scans(MAX_SCANS + 1),
    "PNG of empty chunks": PNG[:PIXELS] + chunk(b"prIv") * MANY + PNG[PIXELS:],
    "PNG of chunks behind its pixels": PNG[:-12] + chunk(b"prIv") * MANY + PNG[-12:],
    "PNG of empty chunks of pixels": PNG[:PIXELS] + chunk(b"IDAT") * 20_000 + PNG[PIXELS:],
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_corrupt_before_pillow_sees_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = BOMBS[name]
    assert too_many_blocks(data)
    monkeypatch.setattr(image_module.Image, "open", lambda *_, **__: pytest.fail("Pillow saw it"))
    for call in (check_header, EncodedImage, lambda data: decode_sub_images(data, WHOLE, 8)):
        with pytest.raises(BadImage, match="corrupt"):
            call(data)
    assert upright_size(data) == (0, 0)


def _text() -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    for number in range(100):
        info.add_text(f"key {number}", "word")
    return info


def _frames() -> bytes:
    file = io.BytesIO()
    frames = [Image.new("L", (4, 4), number % 256) for number in range(MANY)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=10)
    return file.getvalue()


ORDINARY = {
    "JPEG": JPEG,
    "progressive": PROGRESSIVE,
    "as many scans as there may be": scans(MAX_SCANS),
    "a film behind a photo": scans(20, b"\xff\xda\0\2" * 500),
    "a profile of 255 segments": encoded("JPEG", icc_profile=bytes(65_000 * 200)),
    "scans in a comment of a JPEG": encoded("JPEG", comment=b"\xff\xda" * 500),
    "one scan, and a film": JPEG + b"\xff\xda" * 500,
    "texts": encoded("PNG", pnginfo=_text()),
    "a noisy PNG": encoded("PNG", side=900),
    "a PNG of chunks of half a kilobyte": PNG[:PIXELS] + b"".join(
        chunk(b"IDAT", bytes(512)) for _ in range(6000)) + chunk(b"IEND"),
    "a GIF with a long comment": encoded("GIF", "P", comment=bytes(255) * 1000),
    "a noisy GIF": encoded("GIF", "P", side=900),
    "WebP": encoded("WEBP"),
    "BMP": encoded("BMP"),
    "nothing": b"",
    "zeros behind a GIF": GIF + bytes(100_000),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_pictures_are_passed_on(name: str) -> None:
    assert not too_many_blocks(ORDINARY[name])


def test_a_film_of_thousands_of_frames_is_still_called_animated() -> None:
    with pytest.raises(BadImage, match="animated"):
        check_header(_frames())


@settings(max_examples=300, deadline=None)
@given(data=st.sampled_from([JPEG, PROGRESSIVE, PNG, GIF]), start=st.integers(0, 700), more=st.binary(max_size=300))
def test_any_bytes_have_an_answer(data: bytes, start: int, more: bytes) -> None:
    assert not too_many_blocks(data[:start] + more)


def test_steps_of_pillow_are_no_more_than_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes has Pillow read few blocks; were the walk out of step with Pillow's, a bomb could hide."""
    rng = np.random.default_rng(1)
    parts = [b"!\xfe\1x\0", b"!\xff\3abc\0", b"\0", b",", b"!", b"\x05", bytes(9), b"!\xf9\4" + bytes(5)]
    read = GifImagePlugin.GifImageFile.data
    for _ in range(50):
        steps = []
        monkeypatch.setattr(
            GifImagePlugin.GifImageFile, "data", lambda file, steps=steps: steps.append(1) or read(file)
        )
        data = GIF[:COLOURS] + b"".join(parts[index] for index in rng.integers(0, len(parts), 30_000)) + GIF[COLOURS:]
        with contextlib.suppress(BadImage):
            check_header(data)
        assert len(steps) <= 2 * (2 * MAX_BLOCKS + len(data) // 16)
