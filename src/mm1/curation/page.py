"""The words that the rooms of curation share: a page as it came, and what was found in it.

    Page(id, url, html)  → extract →  Extracted(blocks = Paragraph | ImageRef, in reading order)

A page that gives nothing is `Dropped` with a reason: a few fixed words joined by underscores, fit for counting. Knows
nothing of HTML, files or rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

ParagraphKind: TypeAlias = Literal["heading", "paragraph", "list", "table", "code", "quote"]


class Dropped(Exception):
    """Something gives nothing; `reason` says why in a few fixed words, fit for counting: `too_large`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Page:
    """A page as a source gave it."""

    id: str
    """Names it in the set, and is the same whenever the same source is read."""
    url: str
    """Its absolute address, against which relative ones count: https://…, or local:PATH within the source's folder."""
    html: bytes
    encoding: str = ""
    """What the server said of it in Content-Type; empty where it said nothing."""


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A run of text of one kind; a heading, a list item, a table row are paragraphs too.

    Inner whitespace is single, but code keeps its lines and their indentation.
    """

    text: str
    kind: ParagraphKind = "paragraph"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image where it stands in a page."""

    url: str
    """Absolute: http(s)://…, local:PATH within the source's folder, or a data: URI."""
    alt: str = ""
    caption: str = ""
    """Of the figure in which it stands; that text is no paragraph of the page as well."""
    width: int | None = None
    height: int | None = None
    """In pixels, as the page declares them."""


Block: TypeAlias = Paragraph | ImageRef


@dataclass(frozen=True, slots=True)
class Extracted:
    """The main content of a page, in reading order."""

    title: str
    language: str
    """What the page declares (`<html lang>`), lower case, "en" of "en-GB"; empty where it declares nothing."""
    blocks: tuple[Block, ...]

    @property
    def text(self) -> str:
        """The paragraphs, with a blank line between two."""
        return "\n\n".join(block.text for block in self.blocks if isinstance(block, Paragraph))

    @property
    def images(self) -> tuple[ImageRef, ...]:
        return tuple(block for block in self.blocks if isinstance(block, ImageRef))
