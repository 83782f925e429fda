"""Pixels come out upright, opaque and square; bad bytes give one of four words."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PillowImage

from mm1.data import image as image_module
from mm1.data.image import (
    FORMATS,
    MAX_SIDE,
    BadImage,
    EncodedImage,
    check_header,
    decode_sub_images,
    read_image,
    upright_size,
)
from mm1.data.sub_images import (
    WHOLE,
    BestGridConfig,
    FixedGridConfig,
    SubImagesConfig,
    choose_grid,
    fitted,
    num_sub_images,
)


def decode(data: bytes, size: int, **limits: int) -> np.ndarray:
    """The one image that a picture makes if it is not cut."""
    (pixels,) = decode_sub_images(data, WHOLE, size, **limits)
    return pixels


def scene(height: int = 12, width: int = 12) -> np.ndarray:
    """Red above blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[: height // 2] = (255, 0, 0)
    pixels[height // 2 :] = (0, 0, 255)
    return pixels


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "GIF"])
def test_a_lossless_picture_of_the_right_size_comes_back_as_it_is(make, file_format: str) -> None:
    pixels = decode(make.file(scene(), file_format), 12)
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(pixels, scene())


@pytest.mark.parametrize("file_format", FORMATS)
def test_every_format_is_squashed_to_a_square(make, file_format: str) -> None:
    pixels = decode(make.file(scene(40, 90), file_format), 12)
    assert pixels.shape == (12, 12, 3)
    assert pixels[2, :, 0].min() > 200 > 50 > pixels[2, :, 2].max()  # red at the top
    assert pixels[9, :, 2].min() > 200 > 50 > pixels[9, :, 0].max()  # blue at the bottom


def test_squash_is_bicubic_without_cropping(make) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    expected = PillowImage.fromarray(pixels).resize((16, 16), PillowImage.Resampling.BICUBIC)
    np.testing.assert_allclose(decode(make.file(pixels), 16), np.asarray(expected, int), rtol=0, atol=2)


def test_pixels_do_not_hang_on_the_processor() -> None:
    """Kernels for the newest and for any processor give the same bits, also for extreme shapes."""
    script = (
        "import numpy as np; from mm1.data.sub_images import resized; rng = np.random.default_rng(0);"
        "made = [resized(rng.integers(0, 256, (h, w, 3), dtype=np.uint8), 37, 21).tobytes()"
        " for h, w in ((50, 70), (9, 8), (1, 900), (3000, 2), (21, 600))];"
        "import hashlib, torch; print(torch.backends.cpu.get_cpu_capability());"
        "print(hashlib.sha256(b''.join(made)).hexdigest())"
    )
    runs = [
        subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **more}, capture_output=True, text=True, check=True
        ).stdout.split()
        for more in ({}, {"ATEN_CPU_CAPABILITY": "default"})
    ]
    assert runs[1][0] == "DEFAULT"
    assert runs[0][1] == runs[1][1]


def test_a_large_jpeg_is_close_to_its_full_decoding(make) -> None:
    data = make.file(scene(600, 400), "JPEG", quality=95)
    full = PillowImage.open(io.BytesIO(data)).resize((16, 16), PillowImage.Resampling.BICUBIC)
    assert np.abs(decode(data, 16).astype(int) - np.asarray(full).astype(int)).max() < 20


@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_applied(make, file_format: str) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 3  # upside down
    pixels = decode(make.file(scene(), file_format, exif=exif), 12)
    assert pixels[1, 6, 2] > 200
    assert pixels[10, 6, 0] > 200


def test_transparency_is_laid_on_white(make) -> None:
    clear = np.zeros((12, 12, 4), np.uint8)
    clear[:6] = (255, 0, 0, 255)
    for data in (make.file(clear), make.file(clear, "WEBP", lossless=True), make.file(clear[..., [0, 3]])):
        pixels = decode(data, 12)
        assert pixels[1, 1, 0] == 255
        assert (pixels[9] == 255).all()
    buffer = io.BytesIO()
    palette = PillowImage.fromarray(scene()).convert("P", palette=PillowImage.Palette.ADAPTIVE, colors=2)
    palette.save(buffer, "PNG", transparency=palette.getpixel((0, 0)))
    pixels = decode(buffer.getvalue(), 12)
    assert (pixels[1] == 255).all()
    assert (pixels[9] == (0, 0, 255)).all()


def test_other_modes_become_rgb(make) -> None:
    grey = np.full((12, 12), 100, np.uint8)
    assert (decode(make.file(grey), 12) == 100).all()
    assert (decode(make.file(grey.astype(np.uint16) * 257), 12) == 100).all()  # 16 bits
    buffer = io.BytesIO()
    PillowImage.new("CMYK", (12, 12), (0, 255, 255, 0)).save(buffer, "JPEG")
    red, green, blue = decode(buffer.getvalue(), 12)[5, 5].astype(int)
    assert red > 150 > green
    assert red > 150 > blue


@pytest.mark.parametrize("mode", ["P", "RGB", "RGBA", "LA", "PA", "1", "L", "I;16", "I"])
@pytest.mark.parametrize("strip", [1, 100, 23 * 12])
def test_a_picture_converted_in_strips_is_the_same(monkeypatch, mode: str, strip: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (31, 23, 4), np.uint8)
    if mode.startswith("I"):
        image = PillowImage.fromarray(pixels.view(np.uint16)[:, :, 0].copy()).convert(mode)
    else:
        image = PillowImage.fromarray(pixels).convert(mode)
    if mode in ("P", "RGB", "L", "1"):
        image.info["transparency"] = {"RGB": tuple(pixels[3, 4, :3].tolist())}.get(mode, 1)
    whole = image_module._to_rgb(image)
    monkeypatch.setattr(image_module, "_STRIP", strip)
    assert whole.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image_module._to_rgb(image)), np.asarray(whole))


def reason(data: bytes, **limits: int) -> str:
    with pytest.raises(BadImage) as caught:
        decode(data, 12, **limits)
    return caught.value.reason


def test_not_a_picture(make) -> None:
    assert reason(b"") == "unreadable"
    assert reason(b"<svg></svg>") == "unreadable"
    assert reason(make.file(scene(), "TIFF")) == "unreadable"  # a format that is not let in


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP"])
def test_cut_short(make, file_format: str) -> None:
    data = make.file(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8), file_format)
    assert reason(data[: len(data) // 2]) == "corrupt"


def test_damaged_inside(make) -> None:
    data = bytearray(make.file(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    data[80:120] = bytes(40)
    assert reason(bytes(data)) == "corrupt"


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP"])
def test_animated(file_format: str) -> None:
    frames = [PillowImage.new("RGB", (12, 12), colour) for colour in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, file_format, save_all=True, append_images=frames[1:])
    assert reason(buffer.getvalue()) == "animated"


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_huge_pictures_are_refused_by_their_header(make) -> None:
    assert reason(png_of_size(60_000, 60_000)) == "too_many_pixels"
    assert reason(png_of_size(10_000, 10_000)) == "too_many_pixels"
    assert reason(png_of_size(1, MAX_SIDE + 1)) == reason(png_of_size(MAX_SIDE + 1, 1)) == "too_many_pixels"
    assert upright_size(png_of_size(1, MAX_SIDE)) == (1, MAX_SIDE)
    assert reason(make.file(scene(20, 20)), max_pixels=399) == "too_many_pixels"
    assert decode(make.file(scene(20, 20)), 12, max_pixels=400).shape == (12, 12, 3)


@given(cut=st.integers(0, 200), position=st.integers(0, 200), value=st.integers(0, 255))
def test_whatever_the_bytes_only_bad_image_comes_out(make, cut: int, position: int, value: int) -> None:
    for file_format in FORMATS:
        data = bytearray(make.file(scene(), file_format))
        data[position % len(data)] = value
        with contextlib.suppress(BadImage):
            assert decode(bytes(data[: len(data) - cut]), 12).shape == (12, 12, 3)


@pytest.mark.parametrize("file_format", FORMATS)
def test_the_header_tells_the_size(make, file_format: str) -> None:
    assert upright_size(make.file(scene(40, 90), file_format)) == (90, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("file_format", ["JPEG", "PNG", "WEBP"])
def test_the_size_is_that_of_the_upright_picture(make, file_format: str, orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    data = make.file(scene(30, 90), file_format, exif=exif)
    assert upright_size(data) == read_image(data, 999).size == ((30, 90) if orientation >= 5 else (90, 30))
    # Three tiles side by side, or one above the other: what the size says is what is cut.
    config = SubImagesConfig(grid=BestGridConfig(min_tiles=3, max_tiles=3), overview="none")
    rows, columns = choose_grid(config, 30, *upright_size(data))
    whole = fitted(np.array(read_image(data, 999)), config, columns * 30, rows * 30)
    tiles = decode_sub_images(data, config, 30)
    np.testing.assert_array_equal(np.concatenate(tiles, axis=0 if rows == 3 else 1), whole)


def test_only_the_header_is_read(make) -> None:
    data = make.file(scene(300, 200), "JPEG")
    assert upright_size(data[: len(data) // 2]) == (200, 300)
    assert upright_size(b"") == upright_size(b"GIF89a") == upright_size(make.file(scene())[:12]) == (0, 0)


def test_a_reduced_jpeg_is_cut_by_its_own_size(make) -> None:
    """At an eighth, 1017 x 1023 pixels are 128 x 128 and would make one tile."""
    data = make.file(scene(1023, 1017), "JPEG")
    config = SubImagesConfig(grid=BestGridConfig(min_tiles=1, max_tiles=2), overview="none")
    assert num_sub_images(config, 8, np.array([1017, 128]), np.array([1023, 128])).tolist() == [2, 1]
    assert len(decode_sub_images(data, config, 8)) == 2


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_jpeg_is_reduced_only_to_twice_what_its_grid_needs(make, monkeypatch, orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    stored = (400, 1600) if orientation == 6 else (1600, 400)  # height, width; upright it is 400 x 1600
    data = make.file(scene(*stored), "JPEG", exif=exif)
    seen: list[tuple[int, int]] = []
    monkeypatch.setattr(image_module, "cut", lambda picture, *_: seen.append(picture.size) or [])
    for rows in (1, 4, 8):
        decode_sub_images(data, SubImagesConfig(grid=FixedGridConfig(rows=rows)), 50)
    assert seen == [(100, 400), (100, 400), (200, 800)]


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_squashed_picture_is_all_of_it(file_format: str) -> None:
    buffer = io.BytesIO()
    PillowImage.fromarray(scene(300, 200)).save(buffer, file_format)
    picture = EncodedImage(buffer.getvalue())
    assert (picture.format, picture.width, picture.height) == (file_format, 200, 300)
    pixels = np.asarray(picture.squashed(30)).astype(int)
    assert pixels.shape == (30, 30, 3)
    expected = np.asarray(PillowImage.fromarray(scene(300, 200)).resize((30, 30), PillowImage.Resampling.BOX)).astype(
        int
    )
    assert np.abs(pixels - expected).mean() < 4
    with pytest.raises(BadImage, match="corrupt"):
        EncodedImage(buffer.getvalue()[:-40]).squashed(30)


@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_a_png_with_its_exif_after_its_pixels_is_measured_and_laid_out_upright(make, orientation: int) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    data = make.file(scene(30, 90), exif=exif)
    size = int.from_bytes(data[data.index(b"eXIf") - 4 : data.index(b"eXIf")])
    begin = data.index(b"eXIf") - 4
    chunk = data[begin : begin + 12 + size]
    end = data.index(b"IEND") - 4
    late = data[:begin] + data[begin + len(chunk) : end] + chunk + data[end:]
    assert late.index(b"IDAT") < late.index(b"eXIf")
    assert upright_size(late) == upright_size(data) == ((90, 30) if orientation == 1 else (30, 90))
    policy = SubImagesConfig(grid=BestGridConfig(min_tiles=1, max_tiles=3))
    for ours, usual in zip(decode_sub_images(late, policy, 30), decode_sub_images(data, policy, 30), strict=True):
        np.testing.assert_array_equal(ours, usual)


def test_a_header_alone_refuses_what_is_no_picture_or_too_large(make) -> None:
    data = make.file(scene(40, 90), "PNG")
    check_header(data, max_pixels=40 * 90)
    check_header(data[:100])  # cut short: for the decoder to find
    for broken, max_pixels, reason in [(data, 40 * 90 - 1, "too_many_pixels"), (b"<html>", 9, "unreadable")]:
        with pytest.raises(BadImage) as refused:
            check_header(broken, max_pixels)
        assert refused.value.reason == reason
