"""Which picture an element shows: the largest that it offers, where a script would load it later too.

    <img src="grey.gif" data-src="cat.jpg" width="640">                          cat.jpg, 640 wide
    <img src="s.jpg" srcset="m.jpg 800w, l.jpg 1600w">                           l.jpg
    <picture><source srcset="l.avif 9w"><img src="cat.jpg"></picture>            cat.jpg: AVIF is not decoded

Knows nothing of where the element stands, nor what becomes of the picture.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from mm1.curation.html.urls import resolve
from mm1.curation.page import ImageRef

Attributes: TypeAlias = Mapping[str, str | None]

LAZY_SETS = ("data-srcset", "data-lazy-srcset", "data-original-set", "data-src-set", "lazy-srcset")
LAZY = (
    "data-src",
    "data-original",
    "data-lazy-src",
    "data-lazy",
    "data-lazyload",
    "data-original-src",
    "data-orig-src",
    "data-actualsrc",
    "data-hi-res-src",
    "data-image",
    "data-img",
    "data-url",
    "data-echo",
    "lazy-src",
)
"""Attributes from which scripts load pictures; where there is one, `src` holds a placeholder."""

_FORMATS = re.compile(r"image/(?:jpe?g|pjpeg|png|gif|webp|bmp|x-ms-bmp|tiff)\b", re.IGNORECASE)
_LEADING = re.compile(r"[\s,]*")
_WORD = re.compile(r"\S+")
_DESCRIPTORS = re.compile(r"(?:[^,(]|\([^)]*\)?)*")
_NUMBER = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:px)?\s*", re.IGNORECASE)
_STYLE = {side: re.compile(rf"(?:^|;)\s*{side}\s*:\s*(\d+(?:\.\d+)?)px", re.IGNORECASE) for side in ("width", "height")}
_LARGEST = 1_000_000


def candidates(srcset: str) -> Iterator[tuple[str, float, str]]:
    """(address, number, unit) of a srcset, read as the HTML Standard does; the unit is "w" or "x".

    Addresses may hold commas: `data:` ones do, and those of services that resize.
    """
    position = 0
    while (position := _end(_LEADING, srcset, position)) < len(srcset):
        end = _end(_WORD, srcset, position)
        url = srcset[position:end]
        if url.endswith(","):
            position = end
            yield url.rstrip(","), 1.0, "x"
            continue
        position = _end(_DESCRIPTORS, srcset, end)
        yield url, *_descriptor(srcset[end:position])


def _end(pattern: re.Pattern[str], text: str, position: int) -> int:
    found = pattern.match(text, position)
    return found.end() if found else position


def _descriptor(text: str) -> tuple[float, str]:
    for word in text.split():
        if word[-1] in "wx":
            try:
                return float(word[:-1]), word[-1]
            except ValueError:
                continue
    return 1.0, "x"


def read_image(attributes: Attributes, sources: Sequence[Attributes], base: str) -> ImageRef | None:
    """What an <img> shows; None where nothing that it names is an address of an image.

    Args:
        attributes: of the <img>.
        sources: of the <source> elements before it in its <picture>.
        base: against which addresses count.
    """
    width, height = _size(attributes, "width"), _size(attributes, "height")
    url = _first(_addresses(attributes, sources, width), base)
    if not url:
        return None
    alt = attributes.get("alt") or attributes.get("title") or attributes.get("aria-label") or ""
    return ImageRef(url=url, alt=" ".join(alt.split()), width=width, height=height)


def _addresses(attributes: Attributes, sources: Sequence[Attributes], width: int | None) -> Iterator[str]:
    """What is named, best first: what a script would load, what a browser may choose, what stands there."""
    shown = [attributes, *(source for source in sources if _FORMATS.match(source.get("type") or "image/png"))]
    yield from _largest_first(shown, LAZY_SETS, width)
    for name in LAZY:
        if value := attributes.get(name):
            yield value
    yield from _largest_first(shown, ("srcset",), width)
    yield attributes.get("src") or ""


def _largest_first(elements: Sequence[Attributes], names: Sequence[str], width: int | None) -> list[str]:
    """Widths count before densities, for what `1x` is wide only the page's declared width tells."""
    found = []
    for element in elements:
        for name in names:
            if value := element.get(name):
                for url, number, unit in candidates(value):
                    found.append((number if unit == "w" else number * (width or 1), url))
    found.sort(key=lambda each: -each[0])
    return [url for _, url in found]


def _first(addresses: Iterator[str], base: str) -> str:
    return next((url for address in addresses if (url := resolve(address, base))), "")


def _size(attributes: Attributes, side: str) -> int | None:
    """Pixels; None for what is no number of pixels (`50%`, `auto`). Style wins, as in browsers."""
    found = _STYLE[side].search(attributes.get("style") or "") or _NUMBER.fullmatch(attributes.get(side) or "")
    if found is None:
        return None
    value = float(found.group(1))
    return round(value) if value <= _LARGEST else None
