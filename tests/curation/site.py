"""Small sites for tests of the pipeline: pages with prose of their own and pictures of noise."""

from __future__ import annotations

import io
import random
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

_WORDS = (
    "the a of and to in that is was for it with as on be at by this had not are but from or have an they which "
    "one you were all her she there would their we him been has when who will no more if out so what up said "
    "its about than into them can only other time new some could these two may first then do any like my now "
    "over such our man me even most made after also did many off before must well back through years where "
    "much your way down should because long each just state those people too mister how little good world make "
    "very year still see own work river mountain garden window story letter music market winter summer animal "
    "engine harbour village teacher "
)


def prose(seed: int, sentences: int = 14) -> str:
    """Sentences of English words that no other seed has."""
    drawn, words = random.Random(seed), _WORDS.split()
    return " ".join(
        " ".join(drawn.choice(words) for _ in range(drawn.randint(8, 16))).capitalize() + "." for _ in range(sentences)
    )


def page(seed: int, images: Iterable[str] = (), text: str | None = None) -> str:
    """A page with three paragraphs; the images, whole tags, stand between them."""
    first, second, third = ((text or prose(100 * seed + number)) for number in range(3))
    tags = "".join(images)
    return (
        f"<html lang=en><head><title>Page {seed}</title></head><body><main><h1>About {seed}</h1>"
        f"<p>{first}</p>{tags}<p>{second}</p><p>{third}</p></main></body></html>"
    )


def picture(seed: int, width: int = 160, height: int = 120) -> bytes:
    """A PNG that looks like no other seed's."""
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    made = io.BytesIO()
    Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).save(made, "PNG")
    return made.getvalue()


def write_site(folder: Path, pages: dict[str, str], pictures: dict[str, bytes]) -> Path:
    """A folder of pages and pictures."""
    for name, data in {**{name: text.encode() for name, text in pages.items()}, **pictures}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder
