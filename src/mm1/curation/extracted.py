"""Extracted pages on disk: parquet, one row a page, its blocks in their order.

    with ExtractedWriter(folder / "pages.parquet") as writer:
        writer.add("site/a.html", "https://…", extract(html))
    for row in read_extracted(folder / "pages.parquet"): …      # Row(number, id, url, page)

A few megabytes of rows are in memory at a time, whoever writes or reads. Knows nothing of HTML or rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mm1.curation.buffered import Buffered
from mm1.curation.page import Block, Extracted, ImageRef, Paragraph

ROW_GROUP_BYTES = 4 << 20
_IMAGE = "image"
"""The kind of a block that is no paragraph."""
_BLOCK = pa.struct(
    [
        ("kind", pa.string()),
        ("text", pa.string()),
        ("url", pa.string()),
        ("alt", pa.string()),
        ("width", pa.int64()),
        ("height", pa.int64()),
    ]
)
"""`text` of an image is its caption."""
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("language", pa.string()),
        ("blocks", pa.list_(_BLOCK)),
    ]
)
_MOST = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Row:
    """A page of a part."""

    number: int
    """Of the row, from 0."""
    id: str
    url: str
    page: Extracted


class ExtractedWriter(Buffered):
    """Writes one file; a context manager. The file is of use once it is left without an error."""

    def __init__(self, path: Path) -> None:
        super().__init__(ROW_GROUP_BYTES)
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")

    def add(self, id: str, url: str, page: Extracted) -> None:
        """Appends a page."""
        blocks = [_to_plain(block) for block in page.blocks]
        size = sum(len(block["text"]) + len(block["url"] or "") + 64 for block in blocks)
        self.add_row({"id": id, "url": url, "title": page.title, "language": page.language, "blocks": blocks}, size)

    def write_rows(self, rows: list[dict[str, Any]]) -> None:
        self._writer.write_table(pa.Table.from_pylist(rows, SCHEMA), row_group_size=len(rows))

    def close(self) -> None:
        self._writer.close()


def _to_plain(block: Block) -> dict[str, Any]:
    if isinstance(block, Paragraph):
        return {"kind": block.kind, "text": block.text, "url": None, "alt": None, "width": None, "height": None}
    return {
        "kind": _IMAGE,
        "text": block.caption,
        "url": block.url,
        "alt": block.alt,
        # Pages declare what they like; beyond this it is no number of pixels.
        "width": None if block.width is None else min(block.width, _MOST),
        "height": None if block.height is None else min(block.height, _MOST),
    }


def read_extracted(path: Path) -> Iterator[Row]:
    """The pages of a file, in order."""
    number = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, use_threads=False)
            for row in _rows(table, number):
                yield row
                number += 1


def _rows(table: pa.Table, number: int) -> Iterator[Row]:
    """Column by column into Python values, which takes a third of the time of row by row."""
    blocks = table.column("blocks").combine_chunks()
    ends = blocks.offsets.to_pylist()
    leaves = [leaf.to_pylist() for leaf in blocks.values.flatten()]
    made = [_from_plain(*values) for values in zip(*leaves, strict=True)]
    heads = (table.column(name).to_pylist() for name in ("id", "url", "title", "language"))
    for place, (id, url, title, language) in enumerate(zip(*heads, strict=True)):
        page = Extracted(title, language, tuple(made[ends[place] : ends[place + 1]]))
        yield Row(number + place, id, url, page)


def _from_plain(kind: Any, text: str, url: str, alt: str, width: int | None, height: int | None) -> Block:
    if kind == _IMAGE:
        return ImageRef(url, alt, text, width, height)
    return Paragraph(text, kind)
