"""One record batch of a shard, its columns laid open so that a row costs a few element reads.

    columns.text_tokens[row], columns.num_images[row]      from the lengths alone
    columns.document(row, "captions")                      the document itself

Knows nothing of files, nor of where the batch stands among the documents of a source.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import pyarrow as pa

from mm1.data.sources import sum_lengths, sum_targets
from mm1.types import Document, Image, Segment, Text


class ShardColumns:
    """Columns of n documents, with s segments in all."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        lengths, segments = batch.column("segment_lengths"), batch.column("segments")
        self.bounds: np.ndarray = lengths.offsets.to_numpy()
        self.lengths: np.ndarray = lengths.values.to_numpy()
        self.text_tokens, self.num_images = sum_lengths(self.lengths, self.bounds)
        sizes = batch.column("image_sizes")
        self.first_image: np.ndarray = sizes.offsets.to_numpy()[:-1] // 2
        self.image_sizes: np.ndarray = sizes.values.to_numpy().reshape(-1, 2)
        self._segment_bounds: np.ndarray = segments.offsets.to_numpy()
        self._ids, self._sources = batch.column("id"), batch.column("source")
        self._texts, self._targets, self._images = (segments.values.field(name) for name in ("text", "target", "image"))

    @cached_property
    def targets(self) -> np.ndarray:
        """(s,) bool: texts that count toward the loss."""
        # An image's target is stored as false.
        targets: np.ndarray = self._targets.to_numpy(zero_copy_only=False).astype(bool)
        return targets

    @cached_property
    def target_tokens(self) -> tuple[np.ndarray, np.ndarray]:
        """As `Source.target_tokens`, of all rows."""
        return sum_targets(self.lengths, self.targets, self.bounds)

    def document(self, row: int, default_source: str) -> Document:
        segments = tuple(self._segment(i) for i in range(self._segment_bounds[row], self._segment_bounds[row + 1]))
        source = self._sources[row].as_py() or default_source
        return Document(id=self._ids[row].as_py(), segments=segments, source=source)

    def _segment(self, index: int) -> Segment:
        image = self._images[index].as_py()
        if image is not None:
            return Image(image)
        return Text(self._texts[index].as_py(), self._targets[index].as_py())
