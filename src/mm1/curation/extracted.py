"""Extracted pages on disk: parquet, one row a page, its blocks in their order.

    with ExtractedWriter(folder / "pages.parquet") as writer:
        writer.add("site/a.html", "https://…", extract(html))
    for row in read_extracted(folder / "pages.parquet"): …      # Row(number, id, url, page)

A few megabytes of rows are in memory at a time, whoever writes or reads. Knows nothing of HTML or rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

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


def read_extracted(path: Path, wanted: NDArray[np.bool_] | None = None, only_images: bool = False) -> Iterator[Row]:
    """The pages of a file, in order.

    Args:
        path: of the file.
        wanted: of each page of the file, whether it is asked for; None asks for all.
        only_images: leaves the paragraphs out, which are most of the blocks and so of the time.
    """
    first = 0
    with pq.ParquetFile(path) as file:
        assert wanted is None or len(wanted) == file.metadata.num_rows
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            places = np.arange(size) if wanted is None else np.flatnonzero(wanted[first : first + size])
            if len(places):
                table = file.read_row_group(group, use_threads=False)
                table = table if len(places) == size else table.take(pa.array(places))
                yield from _rows(table, (first + places).tolist(), only_images)
            first += size


def _rows(table: pa.Table, numbers: list[int], only_images: bool) -> Iterator[Row]:
    """Column by column into Python values, which takes a third of the time of row by row."""
    blocks = table.column("blocks").combine_chunks()
    leaves, ends = blocks.values.flatten(), blocks.offsets.to_numpy()
    if only_images:
        images = pc.equal(leaves[0], _IMAGE)
        leaves = [leaf.filter(images) for leaf in leaves]
        ends = np.concatenate([[0], np.cumsum(images.to_numpy(zero_copy_only=False))])[ends]
    made = [_from_plain(*values) for values in zip(*(leaf.to_pylist() for leaf in leaves), strict=True)]
    borders = pairwise(ends.tolist())
    heads = (table.column(name).to_pylist() for name in ("id", "url", "title", "language"))
    for number, (start, end), id, url, title, language in zip(numbers, borders, *heads, strict=True):
        yield Row(number, id, url, Extracted(title, language, tuple(made[start:end])))


def _from_plain(kind: Any, text: str, url: str, alt: str, width: int | None, height: int | None) -> Block:
    if kind == _IMAGE:
        return ImageRef(url, alt, text, width, height)
    return Paragraph(text, kind)
