r"""The sets that curation gives, as parquet: one row a document, its texts and pictures in their order.

    id: string | url: string | segments: list<struct<type, text, image, url, alt>>
    "site/a"   | "https://…" | [{"text", "Once", –, –, –}, {"image", –, b"\xff\xd8…", "https://…/a.jpg", "a cat"}]

    with DocumentWriter(folder / "part-00000.parquet") as writer:
        writer.write("site/a", "https://…", ["Once", PictureSegment(data, "https://…/a.jpg", "a cat")])

A file is there whole or not at all, holds a few megabytes of rows in memory while it is written, and is the same bytes
for the same documents. `mm1 prepare` reads it (data/formats/document_tables.py), and so does everything that reads
parquet. Knows nothing of rules.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from mm1.curation.page import Dropped
from mm1.data.formats.document_tables import SCHEMA
from mm1.data.formats.reading import MAX_DOCUMENT_BYTES
from mm1.files import errors_naming

ROW_GROUP_BYTES = 32 << 20
"""What readers hold at once, about; a single document may be more."""


@dataclass(frozen=True, slots=True)
class PictureSegment:
    """A picture in its place; `url` and `alt` as the page has them."""

    data: bytes
    url: str = ""
    alt: str = ""


class DocumentWriter:
    """Writes documents into one file, which appears when the block ends, and does not if it ends with an error.

    Raises:
        OSError: no room, no permission; it names the file.
    """

    def __init__(self, path: Path, row_group_bytes: int = ROW_GROUP_BYTES, more: pa.Schema | None = None) -> None:
        """Makes a writer.

        Args:
            path: of the file.
            row_group_bytes: what is held in memory, about.
            more: further columns, of texts that repeat.
        """
        self._path = path
        self._more = pa.schema([]) if more is None else more
        self._schema = pa.schema([*SCHEMA, *self._more])
        self._limit = row_group_bytes
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> DocumentWriter:
        self._temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}.tmp")
        self._file = self._temporary.open("wb")
        self._writer = parquet.ParquetWriter(
            self._file,
            self._schema,
            compression={**dict.fromkeys(_leaves(self._more), "zstd"), "segments.list.element.image": "none"},
            use_dictionary=["segments.list.element.type", *self._more.names],
            write_statistics=["id"],
            store_schema=True,
        )
        return self

    def write(
        self, name: str, url: str, segments: Iterable[str | PictureSegment], more: Mapping[str, Any] | None = None
    ) -> None:
        """Adds a document.

        Args:
            name: Its id, unlike all others of the set.
            url: Of the page that it comes from; may be empty.
            segments: Texts and pictures in their order.
            more: What stands in the further columns.

        Raises:
            Dropped: document_too_large, with its addresses and alt texts more than `mm1 prepare` reads; nothing is
                written of it.
        """
        made = [_segment(segment) for segment in segments]
        assert made, f"{name} is an empty document"
        size = sum(len(part[name] or "") for part in made for name in ("text", "image", "url", "alt"))
        if size > MAX_DOCUMENT_BYTES:
            raise Dropped("document_too_large")
        self._rows.append({"id": name, "url": url, "segments": made, **(more or {})})
        self._bytes += size
        if self._bytes >= self._limit:
            self._flush()

    def describe(self, about: Mapping[bytes, bytes]) -> None:
        """Adds to the file's metadata, which is read without its rows."""
        self._writer.add_key_value_metadata(about)

    def _flush(self) -> None:
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=self._schema)
            with errors_naming(self._path):
                self._writer.write_table(table, row_group_size=len(self._rows))
        self._rows, self._bytes = [], 0

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with errors_naming(self._path), ExitStack() as last:
            last.callback(self._temporary.unlink, missing_ok=True)
            last.callback(self._file.close)  # which writes, and so can fail, on a full disk
            last.callback(self._writer.close)
            if kind is None:
                self._flush()
                self._writer.close()
                self._file.flush()
                os.fsync(self._file.fileno())
                os.replace(self._temporary, self._path)


def _segment(segment: str | PictureSegment) -> dict[str, Any]:
    if isinstance(segment, str):
        return {"type": "text", "text": segment, "image": None, "url": None, "alt": None}
    return {"type": "image", "text": None, "image": segment.data, "url": segment.url, "alt": segment.alt}


def _leaves(more: pa.Schema) -> list[str]:
    parts = SCHEMA.field("segments").type.value_type
    return ["id", "url", *(f"segments.list.element.{part.name}" for part in parts), *more.names]
