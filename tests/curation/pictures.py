"""Pictures made for tests: a scene of random rectangles, as a photograph would compress, in any format."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")


def scene(seed: int = 0, width: int = 160, height: int = 120) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), rng.integers(0, 256, 3), np.uint8)
    for _ in range(12):
        top, left = rng.integers(0, height), rng.integers(0, width)
        rows, columns = rng.integers(4, height), rng.integers(4, width)
        pixels[top : top + rows, left : left + columns] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def encoded(picture: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()
