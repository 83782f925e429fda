"""One picture stays itself through other formats and sizes, and different pictures stay different."""

from __future__ import annotations

import io
import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mm1.data.embedded import caption_records
from mm1.data.image import read_image
from mm1.data.perceptual import CLOSE, NEAR, SIDE, Look, alike, distance, look, perceptual_hash
from mm1.data.synthetic.render import render
from mm1.data.synthetic.scenes import World, sample_scene


def look_at(data: bytes) -> Look:
    return look(read_image(data, SIDE))


def encoded(picture: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def drawings() -> list[bytes]:
    records = caption_records("test")
    return list({record.image: None for record in records})[:150]


@pytest.fixture(scope="module")
def scenes() -> list[bytes]:
    rng = random.Random(3)
    found = {}
    while len(found) < 150:
        scene = sample_scene(World(image_size=64), rng, "test")
        found.setdefault(str(scene.caption), scene)
    return [render(scene, rng) for scene in found.values()]


@settings(max_examples=60, deadline=None)
@given(number=st.integers(0, 149), quality=st.integers(65, 95), scale=st.floats(0.8, 2.0))
def test_a_resized_jpeg_has_nearly_the_same_hash(
    drawings: list[bytes], number: int, quality: int, scale: float
) -> None:
    picture = read_image(drawings[number], SIDE)
    size = (round(picture.width * scale), round(picture.height * scale))
    copy = encoded(picture.resize(size, Image.Resampling.BICUBIC), quality=quality)
    assert distance(look_at(drawings[number]).hash, look_at(copy).hash) <= NEAR


def test_nearly_every_copy_is_found(drawings: list[bytes], scenes: list[bytes]) -> None:
    def share(pictures: list[bytes]) -> float:
        found = []
        for data in pictures:
            picture, here = read_image(data, SIDE), look_at(data)
            smaller = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
            copies = [encoded(picture, quality=60), encoded(picture, "WEBP", quality=60), encoded(smaller, quality=80)]
            found += [alike(here, look_at(copy)) for copy in copies]
        return float(np.mean(found))

    assert share(drawings) >= 0.99
    assert share(scenes) >= 0.99


def test_different_scenes_are_different(scenes: list[bytes]) -> None:
    looks = [look_at(data) for data in scenes]
    assert sum(alike(a, b) for a, b in combinations(looks, 2)) == 0


def test_different_drawings_are_different(drawings: list[bytes]) -> None:
    looks = [look_at(data) for data in drawings]
    # Emoji have variants that differ by less than an encoder's noise.
    assert sum(alike(a, b) for a, b in combinations(looks, 2)) <= 2


def test_the_hash_is_grey_and_the_look_is_not() -> None:
    def disc(colour: tuple[int, int, int]) -> Image.Image:
        rows, columns = np.mgrid[:90, :90]
        pixels = np.full((90, 90, 3), 250, np.uint8)
        pixels[(rows - 40) ** 2 + (columns - 50) ** 2 < 500] = colour
        return Image.fromarray(pixels)

    red, green = disc((200, 30, 30)), disc((20, 124, 20))
    assert distance(perceptual_hash(red), perceptual_hash(green)) <= 4
    assert not alike(look(red), look(green))


def test_the_hash_is_the_signs_of_the_waves() -> None:
    """Against the definition of the DCT, summed in plain loops."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    picture = Image.fromarray(np.repeat(pixels[..., None], 3, axis=2))
    places = np.arange(32)
    bits = 0
    waves = {
        (u, v): float(
            np.sum(
                pixels
                * np.cos(np.pi * u * (2 * places[:, None] + 1) / 64)
                * np.cos(np.pi * v * (2 * places[None] + 1) / 64)
            )
        )
        for u in range(8)
        for v in range(8)
    }
    strongest = max(abs(value) for place, value in waves.items() if place != (0, 0))
    for place, value in waves.items():
        bits = bits << 1 | (place != (0, 0) and value > strongest / 100)
    assert perceptual_hash(picture) == bits


def test_one_colour_has_no_waves() -> None:
    assert perceptual_hash(Image.new("RGB", (50, 20), (9, 120, 200))) == 0
    assert not alike(look(Image.new("RGB", (9, 9), "white")), look(Image.new("RGB", (9, 9), "black")))


@pytest.mark.parametrize(
    ("bits", "contrast", "apart", "expected"),
    [
        (14, 200, 32, True),
        (15, 200, 32, False),
        (14, 200, 33, False),
        (0, 0, 6, True),  # of plain grounds less is another colour
        (0, 0, 7, False),
        (0, 40, 16, True),
        (0, 40, 17, False),
    ],
)
def test_how_far_apart_one_picture_may_be(bits: int, contrast: int, apart: int, expected: bool) -> None:
    one, other = bytes([contrast, *[0] * 191]), bytes([contrast, apart, *[0] * 190])
    if contrast == 0:
        one, other = bytes(192), bytes([apart] * 192)
    assert alike(Look(0, one), Look((1 << bits) - 1, other)) == expected
    assert (NEAR, CLOSE) == (14, 32)
