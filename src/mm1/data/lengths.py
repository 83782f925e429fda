"""The lengths of a source's documents as memory-mapped tables beside its shards: all that a plan asks of a source.

    writer = LengthsWriter(folder)
    writer.add([Measured([3, IMAGE_LENGTH], [True, False], [(640, 480)])])          # a document: a text and a picture
    tables = Lengths(folder, writer.about, "captions")
    tables.totals(np.array([0]))                                             # ([3], [1])

    lengths-documents.bin    a row a document: where its rows of the other two begin, and its sums
    lengths-segments.bin     a row a segment: its tokens, or IMAGE_LENGTH; whether it counts toward the loss
    lengths-images.bin       a row an image: width and height, as it stands upright

Rows have a fixed size, so that a document is found by multiplication: looking at very many documents in any order reads
a row of each and opens no shard. Plain little-endian rows without a header: tables are joined by copying one behind the
other. What tells of them, `about`, stands in the folder's index. Knows nothing of shards or tokenizers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from mm1.config import UserError
from mm1.data.mapped import mapped
from mm1.data.sources import sum_lengths, sum_targets
from mm1.files import errors_naming

About: TypeAlias = dict[str, dict[str, Any]]
"""Of each table its "rows" and "sha256", as JSON values."""

ROWS = {
    "documents": np.dtype(
        [
            ("first_segment", "<i8"),
            ("first_image", "<i8"),
            ("segments", "<i4"),
            ("images", "<i4"),
            ("text_tokens", "<i4"),
            ("target_tokens", "<i4"),
            ("begins_with_target", "?"),
        ]
    ),
    "segments": np.dtype([("length", "<i4"), ("target", "?")]),
    "images": np.dtype([("width", "<i4"), ("height", "<i4")]),
}
_COPIED_AT_ONCE = 1 << 18
"""Rows."""


def path_of(folder: Path, table: str) -> Path:
    """Where a table stands."""
    return folder / f"lengths-{table}.bin"


@dataclass(frozen=True, slots=True)
class Measured:
    """What is kept of a document."""

    lengths: Sequence[int]
    """Of its segments, as `Source.segment_lengths`."""
    targets: Sequence[bool]
    """Of its segments."""
    sizes: Sequence[tuple[int, int]]
    """Of its images, upright."""


class LengthsWriter:
    """Writes the three tables into `folder`, over what stood there; what was added is on the disk.

    Raises:
        OSError: no room, no permission; it names the path.
    """

    def __init__(self, folder: Path) -> None:
        self._tables = {name: _TableWriter(path_of(folder, name)) for name in ROWS}

    @property
    def about(self) -> About:
        """Tells of the tables as they are now."""
        return {name: {"rows": table.rows, "sha256": table.digest.hexdigest()} for name, table in self._tables.items()}

    def add(self, documents: Sequence[Measured]) -> None:
        """Appends documents."""
        flat = np.array([length for document in documents for length in document.lengths], np.int64)
        targets = np.array([target for document in documents for target in document.targets], bool)
        bounds = np.cumsum([0, *(len(document.lengths) for document in documents)])
        rows = np.empty(len(documents), ROWS["documents"])
        rows["first_segment"], rows["segments"] = bounds[:-1], np.diff(bounds)
        rows["text_tokens"], rows["images"] = sum_lengths(flat, bounds)
        rows["target_tokens"], rows["begins_with_target"] = sum_targets(flat, targets, bounds)
        rows["first_image"] = np.cumsum(rows["images"]) - rows["images"]
        segments = np.empty(len(flat), ROWS["segments"])
        segments["length"], segments["target"] = flat, targets
        images = np.array([size for document in documents for size in document.sizes], ROWS["images"])
        assert len(images) == rows["images"].sum()
        self._append([rows], [segments], [images])

    def join(self, tables: Lengths) -> None:
        """Appends all documents of other tables."""
        self._append(*(_in_pieces(tables.table(name)) for name in ROWS))

    def _append(
        self, documents: Iterable[np.ndarray], segments: Iterable[np.ndarray], images: Iterable[np.ndarray]
    ) -> None:
        """Appends rows, piece by piece; those of documents count from the first of the others."""
        first_segment, first_image = self._tables["segments"].rows, self._tables["images"].rows
        for piece in documents:
            moved = piece.copy()
            moved["first_segment"] += first_segment
            moved["first_image"] += first_image
            self._tables["documents"].append(moved)
        for name, pieces in (("segments", segments), ("images", images)):
            for piece in pieces:
                self._tables[name].append(piece)


class _TableWriter:
    """One table, hashed while it is written; no file stays open between two pieces."""

    def __init__(self, path: Path) -> None:
        self.rows = 0
        self.digest = hashlib.sha256()
        self._path = path
        path.write_bytes(b"")

    def append(self, rows: np.ndarray) -> None:
        data = rows.tobytes()
        with errors_naming(self._path), self._path.open("ab") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        self.digest.update(data)
        self.rows += len(rows)


class Lengths:
    """The tables in `folder` that `about` tells of.

    Raises:
        UserError: a table is missing, or not as long as `about` says; it names the source.
    """

    def __init__(self, folder: Path, about: About, source: str) -> None:
        self._tables: dict[str, np.ndarray] = {}
        for name, kind in ROWS.items():
            path, expected = path_of(folder, name), about[name]["rows"] * kind.itemsize
            size = path.stat().st_size if path.is_file() else None
            if size != expected:
                found = "is missing" if size is None else f"has {size} bytes where the index says {expected}"
                raise UserError(f"{path} {found}: prepare the source '{source}' again, or copy the file anew")
            self._tables[name] = np.frombuffer(mapped(path), kind)
        self._documents = self._tables["documents"]
        self.checksums: dict[Path, str] = {path_of(folder, name): about[name]["sha256"] for name in ROWS}

    def __len__(self) -> int:
        return len(self._documents)

    def table(self, name: str) -> np.ndarray:
        """All rows of a table."""
        return self._tables[name]

    def num_segments(self, index: int) -> int:
        return int(self._documents["segments"][index])

    def segment_lengths(self, index: int) -> list[int]:
        """As `Source.segment_lengths`."""
        lengths: list[int] = self._segments(index)["length"].tolist()
        return lengths

    def segment_targets(self, index: int) -> list[bool]:
        """As `Source.segment_targets`."""
        targets: list[bool] = self._segments(index)["target"].tolist()
        return targets

    def totals(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Source.totals`."""
        rows = self._documents[indices]
        return rows["text_tokens"].astype(np.int64), rows["images"].astype(np.int64)

    def target_tokens(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Source.target_tokens`."""
        rows = self._documents[indices]
        return rows["target_tokens"].astype(np.int64), rows["begins_with_target"].copy()

    def image_sizes(self, indices: np.ndarray) -> np.ndarray:
        """As `Source.image_sizes`."""
        rows = self._documents[indices]
        counts = rows["images"].astype(np.int64)
        # first, first + 1, … of each document, one after another
        before = np.cumsum(counts) - counts
        places = np.repeat(rows["first_image"] - before, counts) + np.arange(int(counts.sum()))
        images = self._tables["images"][places]
        return np.stack([images["width"], images["height"]], axis=1).astype(np.int64)

    def _segments(self, index: int) -> np.ndarray:
        row = self._documents[index]
        first = int(row["first_segment"])
        return self._tables["segments"][first : first + int(row["segments"])]


def _in_pieces(rows: np.ndarray) -> Iterator[np.ndarray]:
    return (rows[start : start + _COPIED_AT_ONCE] for start in range(0, len(rows), _COPIED_AT_ONCE))
