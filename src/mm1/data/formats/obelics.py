"""Interleaved pages as OBELICS has them: parallel lists, at each place a picture or a text, the other one null.

    images: [None, {bytes}, None] | texts: ["Once", None, "upon"]     →  [Text("Once"), Image, Text("upon")]

The published tables hold URLs; a picture that was never downloaded is dropped and the page goes on without it. A page
that had pictures and lost them all is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mm1.data.formats import tables
from mm1.data.formats.reading import (
    MAX_DOCUMENT_BYTES,
    Drop,
    Item,
    ReadOptions,
    Unusable,
    document,
    each,
    page,
    picture,
    room_after,
    take,
)
from mm1.types import Segment, Text

SEPARATOR = "\n\n"
"""Between two texts: OBELICS writes paragraphs so."""
IMAGES = "list of bytes|list of picture|list of text"


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The pages of a table.

    Raises:
        UserError: not the two columns.
    """
    found = tables.columns(path)
    if found is None:
        return iter([Drop("damaged", str(path))])
    names = [tables.choose(path, found, ("images",), IMAGES), tables.choose(path, found, ("texts",), "list of text")]

    def make(where: str, row: dict[str, Any]) -> Iterator[Item]:
        images, texts = take(row, "images", list), take(row, "texts", list)
        if len(images) != len(texts):
            raise Unusable("images and texts differ in number")
        parts: list[Segment] = []
        room = MAX_DOCUMENT_BYTES
        for image, text in zip(images, texts, strict=True):
            if image is not None:
                try:
                    shown = picture(image, options.images)
                except Unusable as error:
                    yield Drop(error.reason, where, what="image")
                else:
                    room = room_after(shown, room)
                    parts.append(shown)
            if text is not None:
                parts.append(Text(text))
        if any(image is not None for image in images) and all(isinstance(part, Text) for part in parts):
            raise Unusable("no image left")
        yield document(f"{path.stem}/{where.rpartition(':')[2]}", page(parts, SEPARATOR))

    return each(tables.rows(path, names, options.share), make)
