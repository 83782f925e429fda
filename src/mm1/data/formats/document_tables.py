"""Documents as parquet, one row a document: what curation writes.

    id: "site/a" | segments: [{type: "text", text: "Once"}, {type: "image", image: b"…"}]  →  Document("site/a", …)

Pictures are bytes in the row; a row that only names one is dropped. Other columns, and a segment's other fields, are
for people and left alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mm1.data.formats import tables
from mm1.data.formats.reading import Drop, Item, ReadOptions, Unusable, document, each, picture, take
from mm1.types import Document, Segment, Text

SEGMENT = pa.struct(
    [
        pa.field("type", pa.string(), nullable=False),
        pa.field("text", pa.string()),
        pa.field("image", pa.binary()),
        pa.field("url", pa.string()),
        pa.field("alt", pa.string()),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("segments", pa.list_(pa.field("element", SEGMENT)), nullable=False),
    ]
)
"""What is written; of what is read only id and each segment's type, text and image count."""
SEGMENTS = "list of segment"


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """The documents of a table.

    Raises:
        UserError: no column of segments.
    """
    found = tables.columns(path)
    if found is None:
        return iter([Drop("damaged", str(path))])
    segments = tables.choose(path, found, ("segments",), SEGMENTS)
    names = [name for name in ("id",) if tables.kind_of(found.get(name, pa.null())) == "text"]

    def make(where: str, row: dict[str, Any]) -> Document:
        name = row.get("id") or f"{path.stem}/{where.rpartition(':')[2]}"
        return document(name, (_segment(part) for part in take(row, segments, list)))

    return each(tables.rows(path, [*names, segments], options.share), make)


def _segment(part: object) -> Segment:
    kind = take(part, "type", str)
    if kind == "text":
        return Text(take(part, "text", str))
    if kind == "image":
        return picture(take(part, "image", bytes), None)
    raise Unusable("segment of unknown type")
