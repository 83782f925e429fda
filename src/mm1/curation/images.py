"""Which images of the web are fit for a set: by address, by declared size, and by their bytes, decoded in full.

    url_reason("https://a.example/site-logo.png", MM1_IMAGES)      # "banned_url"
    inspect(data, MM1_IMAGES)                                      # Picture("JPEG", 640, 480, md5=…, look=…)
    inspect(data[:-500], MM1_IMAGES)                               # raises Dropped("corrupt")

The name of a file says nothing of its format; the bytes do. Bombs are refused by what the header says, before any
pixel. A picture ends where its format says so: what trails it (an archive, a page, the second view of a stereo photo)
is no part of it and is not to be stored. Knows nothing of pages, of the network or of other images of the set.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from pydantic import Field

from mm1.config import Config
from mm1.curation.page import Dropped, ImageRef
from mm1.curation.picture_end import picture_end
from mm1.data.image import FORMATS, MAX_PIXELS, BadImage, EncodedImage, ImageFormat
from mm1.data.perceptual import SIDE, Look, look

MARKUP = re.compile(rb"<(?:script|html|iframe|!doctype html|\?php)[\s>]", re.IGNORECASE)
"""What no picture needs: files that are a picture to one program and a page or a script to another."""


class ImageRules(Config):
    """What an image must be. The defaults are MM1's (A.1); the paper says nothing of formats."""

    formats: tuple[ImageFormat, ...] = FORMATS
    min_side: int = Field(100, ge=1)
    """Pixels of the shorter side."""
    max_side: int = Field(10_000, ge=1)
    """Pixels of the longer side."""
    max_aspect: float = Field(2.0, ge=1)
    """Longer side by shorter side: 2 is "outside [1/2, 2]" of the paper."""
    max_pixels: int = Field(MAX_PIXELS, ge=1)
    """Width times height; what `mm1 prepare` would refuse has no place in a set."""
    ban_words: tuple[str, ...] = ("logo", "button", "icon", "plugin", "widget")
    """An address that has one of them anywhere, in any case, is refused: "silicon" holds "icon", as the rule has it."""
    max_occurrences: int = Field(10, ge=1)
    """Images whose URL, or whose MD5, more pages show are dropped; counted by the pipeline (steps/occurrences.py)."""
    declared_size: bool = False
    """Whether the size in which the page shows an image must keep the limits of side and shape as well (OBELICS)."""


MM1_IMAGES = ImageRules()
OBELICS_IMAGES = ImageRules(
    formats=("JPEG", "PNG", "WEBP"),
    min_side=150,
    max_side=20_000,
    ban_words=(*MM1_IMAGES.ban_words, "porn", "xxx", "sex"),
    declared_size=True,
)


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of an image whose every pixel was decoded."""

    format: ImageFormat
    width: int
    """In pixels, upright as EXIF says."""
    height: int
    num_bytes: int
    """Of the picture itself, from the first byte; what trails it in the file is not to be kept."""
    md5: bytes
    """16 bytes, of the first `num_bytes` bytes."""
    look: Look
    """What re-encoding leaves of it (data/perceptual.py): a hash of 64 bits and 192 bytes of colours."""


@dataclass(frozen=True, slots=True)
class StoredImage:
    """An image of the set with its bytes, `picture.num_bytes` of them."""

    picture: Picture
    data: bytes


LookUp: TypeAlias = Callable[[str], StoredImage | str]
"""From an image's address, as ImageRef has it, to the image, or to the reason why there is none."""


def url_reason(url: str, rules: ImageRules) -> str | None:
    """Why the address alone rules an image out: "banned_url"; None if it does not.

    A data: URI is no name, and words found in its base64 would be chance: it is never refused.
    """
    if url[:5].lower() == "data:":
        return None
    spelled = unquote(url).lower() if "%" in url else url.lower()
    return "banned_url" if any(word.lower() in spelled for word in rules.ban_words) else None


def declared_reason(image: ImageRef, rules: ImageRules) -> str | None:
    """Why the size that the page declares rules an image out: "declared_small", "declared_large", "declared_aspect".

    None where it does not, where the page declares nothing, or where the rules do not ask. A side that is not declared
    breaks no rule.
    """
    sides = [side for side in (image.width, image.height) if side is not None]
    if not rules.declared_size or not sides:
        return None
    reason = _size_reason(min(sides), max(sides), rules)
    return None if reason is None else f"declared_{reason}"


def picture_reason(picture: Picture, rules: ImageRules) -> str | None:
    """Why a decoded picture is ruled out, if it is: "format", "small", "large", "aspect", "too_many_pixels".

    For a picture that was inspected under other rules, as when one store of images serves two profiles.
    """
    if picture.width * picture.height > rules.max_pixels:
        return "too_many_pixels"
    return _header_reason(picture.format, picture.width, picture.height, rules)


def _header_reason(format: ImageFormat, width: int, height: int, rules: ImageRules) -> str | None:
    if format not in rules.formats:
        return "format"
    return _size_reason(min(width, height), max(width, height), rules)


def _size_reason(shorter: int, longer: int, rules: ImageRules) -> str | None:
    if shorter < rules.min_side:
        return "small"
    if longer > rules.max_side:
        return "large"
    return "aspect" if longer > rules.max_aspect * shorter else None


def inspect(data: bytes, rules: ImageRules) -> Picture:
    """Looks at every byte of an image.

    Raises:
        Dropped: `unreadable` (none of data/image.py's formats: SVG, a page, nothing), `too_many_pixels`, `animated`,
            `format` (one that the rules do not take), `small`, `large`, `aspect`, all of these from the header alone;
            `corrupt` (broken, cut anywhere, or of more blocks or scans than any encoder writes), and `polyglot` (a
            page or script hides in it).
    """
    try:
        image = EncodedImage(data, rules.max_pixels)
        reason = _header_reason(image.format, image.width, image.height, rules)
        if reason is not None:
            raise Dropped(reason)
        end = picture_end(data, image.format)
        if end is None:
            raise Dropped("corrupt")
        seen = look(image.squashed(SIDE))
    except BadImage as error:
        raise Dropped(error.reason) from None
    kept = data[:end] if end < len(data) else data
    if MARKUP.search(kept):
        raise Dropped("polyglot")
    digest = hashlib.md5(kept, usedforsecurity=False).digest()
    return Picture(image.format, image.width, image.height, end, digest, seen)
