r"""Interleaved documents: a page's text with its images in their places (MM1, A.1).

    [p "Once", img a.jpg (caption "A cat"), p "upon", img a.jpg]  →  ["Once", image a.jpg, "A cat\n\nupon"]

Decisions: a figure's caption is text of the page, read right after its image, so it follows the image as a paragraph.
Alt text is not: readers do not see it; it stays beside the image for who wants it. Adjacent texts are merged by a blank
line. Knows nothing of where images come from (`look_up` does) or how documents are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from pydantic import Field

from mm1.config import Config
from mm1.curation.images import (
    MM1_IMAGES,
    ImageRules,
    LookUp,
    StoredImage,
    declared_reason,
    picture_reason,
    url_reason,
)
from mm1.curation.page import Dropped, Extracted, ImageRef, Paragraph

SEPARATOR = "\n\n"
"""Between two texts with no image between them."""


class DocumentRules(Config):
    """What both profiles ask of a document. The defaults are MM1's (A.1)."""

    images: ImageRules = MM1_IMAGES
    min_images: int = Field(1, ge=1)
    max_images: int = Field(30, ge=1)
    """Different addresses in a page."""
    count: Literal["found", "kept"] = "found"
    """Which images `max_images` counts: those that the page shows, so that a page of 500 thumbnails is not fetched at
    all (MM1, which drops such pages before it downloads), or those that the image rules leave (OBELICS)."""


class InterleavedRules(DocumentRules):
    """What a document must be: A.1."""

    kind: Literal["mm1"] = "mm1"


@dataclass(frozen=True, slots=True)
class PlacedText:
    text: str


@dataclass(frozen=True, slots=True)
class PlacedImage:
    """An image in its place; `url` and `alt` as the page has them."""

    url: str
    alt: str
    image: StoredImage


PlacedSegment: TypeAlias = PlacedText | PlacedImage


@dataclass(frozen=True, slots=True)
class Assembled:
    """A document's segments in reading order: at least one text and one image, never two texts in a row."""

    segments: tuple[PlacedSegment, ...]
    dropped_images: Counter[str] = field(default_factory=Counter)
    """Reason → number; with the images among the segments they are all images of the page."""
    dropped_paragraphs: Counter[str] = field(default_factory=Counter)
    """Paragraphs and captions that rules took out (curation/obelics.py); the profile mm1 has none."""


class DroppedDocument(Dropped):
    """A page that gives no document; `dropped_images` counts each of its images once, as Assembled's would.

    Those that were fit, in a page that was not, have the reason `document_dropped`.
    """

    def __init__(
        self, reason: str, dropped_images: Counter[str], dropped_paragraphs: Counter[str] | None = None
    ) -> None:
        super().__init__(reason)
        self.dropped_images = dropped_images
        self.dropped_paragraphs = dropped_paragraphs or Counter()


def page_reason(page: Extracted, rules: DocumentRules) -> str | None:
    """Why a page's images rule it out before any is looked at: "no_image", "too_many_images"; None if they do not.

    Asked before downloads: `assemble` drops the same pages for the same reason.
    """
    found = len({image.url for image in page.images})
    if not found:
        return "no_image"
    return "too_many_images" if rules.count == "found" and found > rules.max_images else None


def assemble(page: Extracted, look_up: LookUp, rules: DocumentRules) -> Assembled:
    """The document of a page.

    Images are dropped for `repeated` (its address or its bytes stood earlier in the page), the reasons of url_reason,
    declared_reason and picture_reason, and those that `look_up` gives.

    Raises:
        DroppedDocument: `no_image`, `too_many_images`, `no_image_left` (fewer than the least are fit), `no_text`.
    """
    reason = page_reason(page, rules)
    if reason is not None:
        raise DroppedDocument(reason, +Counter(document_dropped=len(page.images)))
    dropped: Counter[str] = Counter()
    segments = merge_texts(_place(page, look_up, rules.images, dropped))
    return checked(segments, rules, dropped)


def checked(
    segments: Iterable[PlacedSegment],
    rules: DocumentRules,
    dropped_images: Counter[str],
    dropped_paragraphs: Counter[str] | None = None,
) -> Assembled:
    """The segments as a document, if they are one.

    Raises:
        DroppedDocument: as `assemble` says.
    """
    segments = tuple(segments)
    images = sum(isinstance(segment, PlacedImage) for segment in segments)
    reason = None
    if images < rules.min_images:
        reason = "no_image_left"
    elif images > rules.max_images:
        reason = "too_many_images"
    elif images == len(segments):
        reason = "no_text"
    if reason is not None:
        raise DroppedDocument(reason, dropped_images + Counter(document_dropped=images), dropped_paragraphs)
    return Assembled(segments, dropped_images, dropped_paragraphs or Counter())


def merge_texts(segments: Iterable[PlacedSegment]) -> list[PlacedSegment]:
    """Texts that follow one another become one, a blank line between them; empty texts are none."""
    merged: list[PlacedSegment] = []
    texts: list[str] = []
    for segment in segments:
        if isinstance(segment, PlacedText):
            if segment.text.strip():
                texts.append(segment.text)
            continue
        _flush(texts, merged)
        merged.append(segment)
    _flush(texts, merged)
    return merged


def _flush(texts: list[str], merged: list[PlacedSegment]) -> None:
    if texts:
        merged.append(PlacedText(SEPARATOR.join(texts)))
        texts.clear()


def _place(page: Extracted, look_up: LookUp, rules: ImageRules, dropped: Counter[str]) -> Iterable[PlacedSegment]:
    """The page's blocks, the images looked up; an image that is dropped takes its caption with it."""
    urls: set[str] = set()
    digests: set[bytes] = set()
    for block in page.blocks:
        if isinstance(block, Paragraph):
            yield PlacedText(block.text)
            continue
        found = "repeated" if block.url in urls else fit_image(block, look_up, rules)
        urls.add(block.url)
        if isinstance(found, StoredImage) and found.picture.md5 in digests:
            found = "repeated"
        if isinstance(found, str):
            dropped[found] += 1
            continue
        digests.add(found.picture.md5)
        yield PlacedImage(block.url, block.alt, found)
        yield PlacedText(block.caption)


def fit_image(block: ImageRef, look_up: LookUp, rules: ImageRules) -> StoredImage | str:
    """The image of a reference, or the first reason why it is not fit."""
    reason = url_reason(block.url, rules) or declared_reason(block, rules)
    if reason is not None:
        return reason
    found = look_up(block.url)
    if isinstance(found, str):
        return found
    return picture_reason(found.picture, rules) or found
