"""Pages of running text on grounds of many kinds, to be transcribed, as in SynthDoG.

    page = sample_writing(random.Random(0), "train", 224)
    page.lines                       # what is written, line by line
    draw_writing(page, random.Random(0))

The words are those of the embedded plain text, a passage from anywhere in it; a passage is of `test` when its hash says
so. How much stands on a page follows from its side, so that letters can be read. Knows nothing of prompts.
"""

from __future__ import annotations

import io
import random
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from mm1.data.embedded import texts
from mm1.data.synthetic.fonts import font
from mm1.data.synthetic.scenes import Split, split_of
from mm1.types import Text

_LEAST_SIZE = 11
"""Pixels an em below which letters can not be read."""


@dataclass(frozen=True, slots=True)
class Writing:
    """Lines of text that fit a picture of `side` pixels at `size` pixels an em."""

    lines: tuple[str, ...]
    side: int
    size: int
    margin: int
    spacing: float
    """From line to line, in ems."""
    aligned: str
    """left, center or right."""

    @property
    def text(self) -> str:
        return " ".join(self.lines)


def sample_writing(rng: random.Random, split: Split, side: int) -> Writing:
    """Draws passages until one belongs to `split`."""
    size = rng.randint(_LEAST_SIZE, max(_LEAST_SIZE, side // 12))
    margin = round(side * rng.uniform(0.06, 0.14))
    spacing = rng.uniform(1.15, 1.6)
    most = max(1, int((side - 2 * margin) / (size * spacing)))
    count = rng.randint(1, most)
    for _ in range(1000):
        lines = _wrapped(_passage(rng, 12 * count), size, side - 2 * margin, count)
        if lines and split_of(" ".join(lines)) == split:
            return Writing(lines, side, size, margin, spacing, rng.choice(("left", "left", "center", "right")))
    raise AssertionError(f"no {split} passage fits {side} pixels")


def draw_writing(writing: Writing, rng: random.Random) -> bytes:
    """The page as a JPEG: ink on paper, or light letters on a dark ground, a little turned now and then."""
    dark = rng.random() < 0.2
    ink = tuple(rng.randint(200, 255) if dark else rng.randint(0, 70) for _ in range(3))
    ground = _ground(writing.side, dark, rng)
    mask = PillowImage.new("L", (writing.side, writing.side))
    draw = ImageDraw.Draw(mask)
    step = writing.size * writing.spacing
    free = writing.side - 2 * writing.margin - step * len(writing.lines)
    top = writing.margin + rng.random() * max(0.0, free)
    anchor, x = {
        "left": ("la", writing.margin),
        "center": ("ma", writing.side / 2),
        "right": ("ra", writing.side - writing.margin),
    }[writing.aligned]
    for number, line in enumerate(writing.lines):
        draw.text((x, top + number * step), line, fill=255, font=font(writing.size), anchor=anchor)
    if rng.random() < 0.3:
        mask = mask.rotate(rng.uniform(-2, 2), PillowImage.Resampling.BICUBIC)
    cover = np.asarray(mask, np.float32)[:, :, None] / 255
    pixels = ground + cover * (np.array(ink, np.float32) - ground)
    buffer = io.BytesIO()
    image = PillowImage.fromarray(pixels.round().clip(0, 255).astype(np.uint8))
    image.save(buffer, "JPEG", quality=rng.randint(70, 95))
    return buffer.getvalue()


def _ground(side: int, dark: bool, rng: random.Random) -> np.ndarray:
    """(side, side, 3) float32: a colour, or colours that run into each other, with the grain of paper."""
    low, high = (20, 90) if dark else (190, 255)
    cells = rng.choice((1, 1, 2, 3))
    corners = np.array([rng.randint(low, high) for _ in range(cells * cells * 3)], np.uint8).reshape(cells, cells, 3)
    smooth = PillowImage.fromarray(corners).resize((side, side), PillowImage.Resampling.BILINEAR)
    grain = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.uniform(0, 5), (side, side, 1))
    ground: np.ndarray = np.asarray(smooth, np.float32) + grain.astype(np.float32)
    return ground


@cache
def _words() -> tuple[str, ...]:
    """All words of the embedded plain text, in order."""
    parts = (part.text for document in texts() for part in document.segments if isinstance(part, Text))
    return tuple(word for text in parts for word in text.split() if word.isascii() and word.isprintable())


def _passage(rng: random.Random, count: int) -> tuple[str, ...]:
    """Words that follow each other."""
    first = rng.randrange(max(1, len(_words()) - count))
    return _words()[first : first + count]


def _wrapped(passage: tuple[str, ...], size: int, width: int, count: int) -> tuple[str, ...]:
    """At most `count` lines of at most `width` pixels; none where a word alone is too wide."""
    lines: list[str] = []
    for word in passage:
        longer = f"{lines[-1]} {word}" if lines else word
        if font(size).getlength(word) > width:
            return ()
        if lines and font(size).getlength(longer) <= width:
            lines[-1] = longer
        elif len(lines) == count:
            break
        else:
            lines.append(word)
    return tuple(lines)
