"""What is captioned: the image-text pairs of any set that `mm1 prepare` reads.

    for item in read_pairs(path, "documents-parquet", options): …       # Pair(id, image, text, …), or a Drop

A document with one picture is a pair; the page's own text is all the text that it has. Of the sets of curation the
addresses are kept as well, which a Document does not carry. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mm1.data.formats import tables
from mm1.data.formats.catalog import FORMATS
from mm1.data.formats.reading import Drop, ReadOptions, Unusable, document, picture, take
from mm1.types import Document, Text

NOT_A_PAIR = "not one picture"
_SETS = "documents-parquet"


@dataclass(frozen=True, slots=True)
class Pair:
    """A picture with what its page says of it; addresses may be empty, and so may the text."""

    id: str
    image: bytes
    text: str
    url: str = ""
    image_url: str = ""
    image_alt: str = ""


def read_pairs(path: Path, format: str, options: ReadOptions) -> Iterator[Pair | Drop]:
    """The pairs of a file, in its order; drops and pairs make up all documents that it holds."""
    if format == _SETS:
        yield from _of_set(path)
        return
    for item in FORMATS[format].read(path, options):
        if isinstance(item, Document):
            yield _pair(item)
        elif item.what == "document":
            yield item


def _pair(found: Document, url: str = "", image_url: str = "", image_alt: str = "") -> Pair | Drop:
    if len(found.images) != 1:
        return Drop(NOT_A_PAIR, found.id, id=found.id)
    text = " ".join(part.text for part in found.segments if isinstance(part, Text))
    return Pair(found.id, found.images[0].data, " ".join(text.split()), url, image_url, image_alt)


def _of_set(path: Path) -> Iterator[Pair | Drop]:
    found = tables.columns(path) or {}
    names = [name for name in ("id", "url", "segments") if name in found]
    for where, row in tables.rows(path, names):
        if isinstance(row, Drop):
            yield row
            continue
        try:
            yield _row(row.get("id") or f"{path.stem}/{where.rpartition(':')[2]}", row)
        except Unusable as error:
            yield Drop(error.reason, where, id=str(row.get("id") or ""))


def _row(name: str, row: dict[str, Any]) -> Pair | Drop:
    shown: list[dict[str, Any]] = [part for part in take(row, "segments", list) if take(part, "type", str) == "image"]
    said = [take(part, "text", str) for part in row["segments"] if part["type"] == "text"]
    made = document(name, [*(picture(part["image"], None) for part in shown), *map(Text, said)])
    about = shown[0] if shown else {}
    return _pair(made, row.get("url") or "", about.get("url") or "", about.get("alt") or "")
