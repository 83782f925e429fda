"""Draws a scene as a PNG: anti-aliased shapes and digit signs on a pale ground, with jitter in place, size and tint.

Masks are drawn once by Pillow at four times the size and blitted with numpy, so a picture costs about a tenth of a
millisecond. Knows nothing of words: what a scene says is in scenes.py.
"""

from __future__ import annotations

import io
import math
import random
from functools import lru_cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.scenes import Scene, Thing

_OVERSAMPLING = 4
_SCALE = {"small": 0.46, "large": 0.86}
"""Side of a shape as a share of its cell."""

_DIGIT_ROWS = (
    ["01110", "00100", "01110", "11111", "00010", "11111", "00110", "11111", "01110", "01110"],
    ["10001", "01100", "10001", "00010", "00110", "10000", "01000", "00001", "10001", "10001"],
    ["10011", "00100", "00001", "00100", "01010", "11110", "10000", "00010", "10001", "10001"],
    ["10101", "00100", "00010", "00010", "10010", "00001", "11110", "00100", "01110", "01111"],
    ["11001", "00100", "00100", "00001", "11111", "00001", "10001", "01000", "10001", "00001"],
    ["10001", "00100", "01000", "10001", "00010", "10001", "10001", "01000", "10001", "00010"],
    ["01110", "01110", "11111", "01110", "00010", "01110", "01110", "01000", "01110", "01100"],
)
"""A 5 by 7 dot-matrix font: one tuple a row of dots, one string a digit."""


def render(scene: Scene, rng: random.Random) -> bytes:
    """The scene as a PNG of `world.image_size` pixels a side; `rng` decides the jitter."""
    side = scene.world.image_size
    ground = np.array([rng.randint(222, 255) for _ in range(3)], dtype=np.float32)
    canvas = np.broadcast_to(ground, (side, side, 3)).copy()
    for thing in scene.things:
        _draw_thing(canvas, thing, scene.world.grid, rng)
    return encode_png(canvas.astype(np.uint8))


def encode_png(pixels: np.ndarray) -> bytes:
    """(H, W, 3) uint8 pixels as PNG bytes, compressed lightly."""
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _draw_thing(canvas: np.ndarray, thing: Thing, grid: int, rng: random.Random) -> None:
    cell = canvas.shape[0] / grid
    tint = np.array([channel + rng.randint(-12, 12) for channel in words.COLOURS[thing.colour]], dtype=np.float32)
    side = round(cell * _SCALE[thing.size]) - (rng.randint(0, 1) if not thing.digit else 0)
    slack = max(0, math.floor(cell) - side)
    top = round(words.ROWS[grid].index(thing.row) * cell) + rng.randint(0, slack)
    left = round(words.COLUMNS[grid].index(thing.column) * cell) + rng.randint(0, slack)
    window = canvas[top : top + side, left : left + side]
    colour = np.clip(tint, 0, 255)
    if not thing.digit:
        _blend(window, _shape_mask(thing.shape, side), colour)
        return
    window[:] = colour
    border = max(1, side // 10)
    window[border:-border, border:-border] = 252.0
    _blend(window, _digit_mask(thing.digit, side), np.full(3, 20.0, dtype=np.float32))


def _blend(window: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
    window += mask[:, :, None] * (colour - window)


@lru_cache(maxsize=512)
def _shape_mask(shape: str, side: int) -> np.ndarray:
    """(side, side) float32 coverage in [0, 1]."""
    big = side * _OVERSAMPLING
    image = PillowImage.new("L", (big, big))
    draw = ImageDraw.Draw(image)
    if shape == "circle":
        draw.ellipse((0, 0, big - 1, big - 1), fill=255)
    else:
        draw.polygon([(x * (big - 1), y * (big - 1)) for x, y in _outline(shape)], fill=255)
    return _shrink(image, side)


def _outline(shape: str) -> list[tuple[float, float]]:
    """Corners in the unit square."""
    if shape == "square":
        return [(0.04, 0.04), (0.96, 0.04), (0.96, 0.96), (0.04, 0.96)]
    if shape == "triangle":
        return [(0.5, 0.02), (1.0, 0.95), (0.0, 0.95)]
    if shape == "diamond":
        return [(0.5, 0.0), (0.86, 0.5), (0.5, 1.0), (0.14, 0.5)]
    if shape == "cross":
        inner, outer = 0.34, 0.66
        return [
            *((inner, 0.0), (outer, 0.0), (outer, inner), (1.0, inner), (1.0, outer), (outer, outer)),
            *((outer, 1.0), (inner, 1.0), (inner, outer), (0.0, outer), (0.0, inner), (inner, inner)),
        ]
    assert shape == "star", shape
    angles = [(-0.5 + index / 5) * math.pi for index in range(10)]
    radii = [0.5 if index % 2 == 0 else 0.2 for index in range(10)]
    pairs = zip(angles, radii, strict=True)
    return [(0.5 + radius * math.cos(angle), 0.52 + radius * math.sin(angle)) for angle, radius in pairs]


@lru_cache(maxsize=64)
def _digit_mask(digit: str, side: int) -> np.ndarray:
    """(side, side) float32 coverage of a centred digit, seven tenths of the sign high."""
    dots = np.array([[int(dot) for dot in row[int(digit)]] for row in _DIGIT_ROWS], dtype=np.uint8) * 255
    big = side * _OVERSAMPLING
    height = round(big * 0.7)
    width = round(height * 5 / 7)
    glyph = PillowImage.fromarray(dots).resize((width, height), PillowImage.Resampling.NEAREST)
    image = PillowImage.new("L", (big, big))
    image.paste(glyph, ((big - width) // 2, (big - height) // 2))
    return _shrink(image, side)


def _shrink(image: PillowImage.Image, side: int) -> np.ndarray:
    small = image.resize((side, side), PillowImage.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255.0
