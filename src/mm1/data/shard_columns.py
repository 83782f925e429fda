"""One record batch of a shard, its columns laid open so that a row costs a few element reads.

    columns.document(row, "captions")

Knows nothing of files or lengths, nor of where the batch stands among the documents of a source.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from mm1.types import Document, Image, Segment, Text


class ShardColumns:
    """Columns of a record batch of documents."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        segments = batch.column("segments")
        self._bounds: np.ndarray = segments.offsets.to_numpy()
        self._ids, self._sources = batch.column("id"), batch.column("source")
        self._texts, self._targets, self._images = (segments.values.field(name) for name in ("text", "target", "image"))

    def document(self, row: int, default_source: str) -> Document:
        segments = tuple(self._segment(place) for place in range(self._bounds[row], self._bounds[row + 1]))
        source = self._sources[row].as_py() or default_source
        return Document(id=self._ids[row].as_py(), segments=segments, source=source)

    def _segment(self, place: int) -> Segment:
        image = self._images[place].as_py()
        if image is not None:
            return Image(image)
        return Text(self._texts[place].as_py(), self._targets[place].as_py())
