"""The font of everything that is written in made pictures: the one that Pillow brings, at any size."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont


@lru_cache(maxsize=64)
def font(size: int) -> ImageFont.FreeTypeFont:
    """`size` pixels an em."""
    loaded = ImageFont.load_default(size)
    assert isinstance(loaded, ImageFont.FreeTypeFont), "Pillow's wheels are built with FreeType"
    return loaded
