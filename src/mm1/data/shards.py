"""Documents on disk: a folder of Arrow IPC files, memory-mapped, with an index that is written last.

    with ShardWriter(folder, "captions", encoder) as writer:
        writer.add(document)
    source = ShardSource(folder)           # source.document(123_456) without reading what comes before

    folder/index.json              name, tokenizer, and of each shard: documents, record batches, bytes, sha256
    folder/shard-00000.arrow       id | source | segments [{text, target, image}]
    folder/lengths-….bin           of every document: tokens, targets, images' sizes (lengths.py)

A folder without an index is unfinished. A source that is opened compares its files' sizes with the index's, which
finds those that were cut off or copied in part; checksums are compared by `verify()` alone, because reading all bytes
takes a third of a second for 60 MB (measured on one CPU core) where opening maps them.
Knows nothing of packing or models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from mm1.config import UserError
from mm1.data.encode import DocumentEncoder
from mm1.data.image import upright_size
from mm1.data.lengths import Lengths, LengthsWriter, Measured
from mm1.data.long_texts import in_pieces
from mm1.data.mapped import mapped
from mm1.data.shard_columns import ShardColumns
from mm1.data.shard_index import INDEX, read_index, write_index
from mm1.files import sha256_of, write_atomically
from mm1.types import Document, Image, Segment

T = TypeVar("T")

OPEN_BATCHES = 256
"""Record batches, and shards, that a source keeps at hand; their content stays in the page cache, not in the process.
No file stays open, and few enough stay mapped for what systems allow a process."""

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("segments", pa.list_(pa.struct([("text", pa.string()), ("target", pa.bool_()), ("image", pa.binary())]))),
    ]
)


class ShardWriter:
    """Writes documents in the order they are added; the index appears when the `with` block ends without an error.

    Args:
        folder: created; shards of an earlier, unfinished attempt in it are overwritten.
        name: the source's name.
        encoder: gives the segment lengths, so its tokenizer must be the run's.
        shard_bytes, batch_documents, batch_bytes: sizes of content after which a new file, a new record batch begins.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        encoder: DocumentEncoder,
        *,
        shard_bytes: int = 256 << 20,
        batch_documents: int = 1024,
        batch_bytes: int = 32 << 20,
    ) -> None:
        self._folder = Path(folder)
        self._name = name
        self._encoder = encoder
        self._shard_bytes, self._batch_documents, self._batch_bytes = shard_bytes, batch_documents, batch_bytes
        self._rows: list[dict[str, Any]] = []
        self._pending: list[Measured] = []
        self._pending_bytes = 0
        self._batches: list[pa.RecordBatch] = []
        self._batched_bytes = 0
        self._shards: list[dict[str, Any]] = []
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / INDEX).unlink(missing_ok=True)
        self._lengths = LengthsWriter(self._folder)

    def add(self, document: Document) -> None:
        """Appends a document; its `source` is kept as it is, its long texts become several segments."""
        document = replace(document, segments=tuple(chain.from_iterable(map(in_pieces, document.segments))))
        rows = [_segment_row(segment) for segment in document.segments]
        self._rows.append({"id": document.id, "source": document.source, "segments": rows})
        targets = [row["target"] for row in rows]
        sizes = [upright_size(image.data) for image in document.images]
        self._pending.append(Measured(self._encoder.segment_lengths(document), targets, sizes))
        self._pending_bytes += sum(len(row["image"] or row["text"] or b"") for row in rows)
        if len(self._rows) >= self._batch_documents or self._pending_bytes >= self._batch_bytes:
            self._finish_batch()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        self._finish_batch()
        self._finish_shard()
        write_index(self._folder, self._name, self._encoder.tokenizer.digest, self._shards, self._lengths.about)

    def _finish_batch(self) -> None:
        if not self._rows:
            return
        self._batches.append(pa.RecordBatch.from_pylist(self._rows, schema=SCHEMA))
        self._lengths.add(self._pending)
        self._batched_bytes += self._pending_bytes
        self._rows, self._pending, self._pending_bytes = [], [], 0
        if self._batched_bytes >= self._shard_bytes:
            self._finish_shard()

    def _finish_shard(self) -> None:
        """Writes the batches at hand to a temporary name and renames it."""
        if not self._batches:
            return
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, SCHEMA) as writer:
            for batch in self._batches:
                writer.write_batch(batch)
        data = sink.getvalue()
        path = self._folder / f"shard-{len(self._shards):05d}.arrow"
        write_atomically(path, data)
        self._shards.append(
            {
                "file": path.name,
                "documents": sum(batch.num_rows for batch in self._batches),
                "batches": [batch.num_rows for batch in self._batches],
                "bytes": data.size,
                "sha256": hashlib.sha256(data).hexdigest(),
            }
        )
        self._batches, self._batched_bytes = [], 0


def write_shards(documents: Iterable[Document], folder: Path, name: str, encoder: DocumentEncoder) -> ShardSource:
    """Writes all `documents` to `folder` and opens the result."""
    with ShardWriter(folder, name, encoder) as writer:
        for document in documents:
            writer.add(document)
    return ShardSource(folder)


class ShardSource:
    """A folder written by ShardWriter, as a Source.

    Args:
        folder: the folder.
        name: another name for the source than the one it was written under.

    Raises:
        UserError: no index, or a shard that is missing or not as long as the index says.
    """

    def __init__(self, folder: Path, name: str | None = None) -> None:
        self.folder = Path(folder)
        index = read_index(self.folder)
        self.name: str = index["name"] if name is None else name
        self.tokenizer_digest: str = index["tokenizer"]
        self._shards: list[dict[str, Any]] = index["shards"]
        for shard in self._shards:
            self._check_size(shard)
        self._lengths = Lengths(self.folder, index["lengths"], self.name)
        self._places = [
            (number, batch) for number, shard in enumerate(self._shards) for batch in range(len(shard["batches"]))
        ]
        counts = [count for shard in self._shards for count in shard["batches"]]
        self._bounds = np.cumsum([0, *counts])
        self._files: dict[int, pa.ipc.RecordBatchFileReader] = {}
        self._columns: dict[int, ShardColumns] = {}

    def __reduce__(self) -> tuple[type[ShardSource], tuple[Path, str]]:
        return ShardSource, (self.folder, self.name)

    def __len__(self) -> int:
        return int(self._bounds[-1])

    def document(self, index: int) -> Document:
        """Document number `index`.

        Raises:
            UserError: its shard or its lengths belong to other documents.
        """
        assert 0 <= index < len(self), f"document {index} of {len(self)}"
        batch = int(np.searchsorted(self._bounds, index, side="right")) - 1
        document = self._open(batch).document(index - int(self._bounds[batch]), self.name)
        if len(document.segments) != self._lengths.num_segments(index):
            raise self._other_documents(self._places[batch][0])
        return document

    def segment_lengths(self, index: int) -> list[int]:
        return self._lengths.segment_lengths(index)

    def totals(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._lengths.totals(indices)

    def segment_targets(self, index: int) -> list[bool]:
        return self._lengths.segment_targets(index)

    def target_tokens(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._lengths.target_tokens(indices)

    def image_sizes(self, indices: np.ndarray) -> np.ndarray:
        return self._lengths.image_sizes(indices)

    def verify(self) -> None:
        """Reads every file and compares its checksum; raises UserError naming the first that differs."""
        checksums = {self.folder / shard["file"]: shard["sha256"] for shard in self._shards}
        for path, expected in (checksums | self._lengths.checksums).items():
            digest = sha256_of(path)
            if digest != expected:
                raise UserError(
                    f"{path} has checksum {digest[:12]}… where the index says {expected[:12]}…: it is damaged, prepare "
                    f"the source '{self.name}' again"
                )

    def _check_size(self, shard: dict[str, Any]) -> None:
        path = self.folder / shard["file"]
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes where the index says {shard['bytes']}"
            raise UserError(f"{path} {found}: prepare the source '{self.name}' again, or copy the file anew")

    def _open(self, batch: int) -> ShardColumns:
        """The columns of record batch number `batch`, counted over all shards."""
        if batch not in self._columns:
            shard, place = self._places[batch]
            counts = self._shards[shard]["batches"]
            file = _kept(self._files, shard, lambda: pa.ipc.open_file(mapped(self._path(shard))))
            if file.num_record_batches != len(counts) or (rows := file.get_batch(place)).num_rows != counts[place]:
                raise self._other_documents(shard)
            return _kept(self._columns, batch, lambda: ShardColumns(rows))
        return self._columns[batch]

    def _path(self, shard: int) -> Path:
        return self.folder / str(self._shards[shard]["file"])

    def _other_documents(self, shard: int) -> UserError:
        return UserError(
            f"{self._path(shard)} holds other documents than the index says: prepare the source '{self.name}' again"
        )


def _kept(kept: dict[int, T], key: int, make: Callable[[], T]) -> T:
    """What is kept under `key`, made where it is not there; the oldest of too many goes."""
    if key not in kept:
        if len(kept) >= OPEN_BATCHES:
            del kept[next(iter(kept))]
        kept[key] = make()
    return kept[key]


def _segment_row(segment: Segment) -> dict[str, Any]:
    if isinstance(segment, Image):
        return {"text": None, "target": False, "image": segment.data}
    return {"text": segment.text, "target": segment.target, "image": None}
