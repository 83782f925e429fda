"""What a source of documents is: a number of them, and document number i whenever asked.

    Documents   name, len(), document(i)                                        what makes or stores documents
    Source      … and lengths, what counts toward the loss, images' sizes       what can be packed without a look at
                                                                                the content

Lengths are the same for every training stage: what an image will be cut into, each stage's plan finds from its size.

`ShardSource` (shards.py) stores lengths beside the documents; `MeasuredSource` measures any `Documents` on demand.
Sources must survive pickling: the loader's workers are processes of their own. Knows nothing of mixtures or packing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from mm1.data.encode import IMAGE_LENGTH, DocumentEncoder
from mm1.data.image import upright_size
from mm1.types import Document, Text


class Documents(Protocol):
    """Documents by number, in O(1); the same number always gives the same document."""

    @property
    def name(self) -> str: ...

    def __len__(self) -> int: ...

    def document(self, index: int) -> Document:
        """Document number `index`, 0 <= index < len(self)."""
        ...


class Source(Documents, Protocol):
    """Documents with their lengths, in tokens of the run's tokenizer."""

    def segment_lengths(self, index: int) -> Sequence[int]:
        """Tokens of each text, IMAGE_LENGTH for each image, in order."""
        ...

    def totals(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) int64 text tokens and (n,) int64 images, before any cutting, of the documents `indices` (n,)."""
        ...

    def segment_targets(self, index: int) -> Sequence[bool]:
        """Whether each segment is a text that counts toward the loss."""
        ...

    def target_tokens(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) int64 text tokens that count toward the loss, and (n,) bool whether such a token is the document's
        first, of the documents `indices` (n,). True for a document without any: then EOS is first, and counts.
        """
        ...

    def image_sizes(self, indices: np.ndarray) -> np.ndarray:
        """(I, 2) int64 width and height in pixels, upright, of all images of the documents `indices` (n,), in order."""
        ...


class MeasuredSource:
    """Any `Documents` as a Source: lengths are found by making and tokenising the document each time they are asked.

    Right for sources that fit a few blocks of the plan, or that are quick to make; larger ones belong in shards.
    """

    def __init__(self, documents: Documents, encoder: DocumentEncoder) -> None:
        self._documents = documents
        self._encoder = encoder
        self.name = documents.name

    def __len__(self) -> int:
        return len(self._documents)

    def document(self, index: int) -> Document:
        return self._documents.document(index)

    def segment_lengths(self, index: int) -> list[int]:
        return self._encoder.segment_lengths(self._documents.document(index))

    def totals(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sum_lengths(*_flat([self.segment_lengths(int(index)) for index in indices]))

    def segment_targets(self, index: int) -> list[bool]:
        segments = self._documents.document(index).segments
        return [isinstance(segment, Text) and segment.target for segment in segments]

    def target_tokens(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lengths, bounds = _flat([self.segment_lengths(int(index)) for index in indices])
        targets, _ = _flat([self.segment_targets(int(index)) for index in indices])
        return sum_targets(lengths, targets.astype(bool), bounds)

    def image_sizes(self, indices: np.ndarray) -> np.ndarray:
        images = [image for index in indices for image in self._documents.document(int(index)).images]
        return np.array([upright_size(image.data) for image in images], np.int64).reshape(-1, 2)


class ListSource:
    """A list of documents held in memory: small corpora, tests."""

    def __init__(self, name: str, documents: Sequence[Document]) -> None:
        self.name = name
        self._documents = documents

    def __len__(self) -> int:
        return len(self._documents)

    def document(self, index: int) -> Document:
        return self._documents[index]


def _flat(rows: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """All numbers (m,) of the rows, one after another, and where each row begins, the end added: (n + 1,)."""
    return np.array([value for row in rows for value in row], np.int64), np.cumsum([0, *(len(row) for row in rows)])


def sum_lengths(lengths: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Text tokens (n,) and images (n,) of n documents whose segment lengths lie flat, document i in
    `lengths[bounds[i] : bounds[i + 1]]`, bounds (n + 1,).
    """
    is_image = lengths == IMAGE_LENGTH
    text = np.concatenate([[0], np.cumsum(np.where(is_image, 0, lengths), dtype=np.int64)])
    images = np.concatenate([[0], np.cumsum(is_image, dtype=np.int64)])
    return text[bounds[1:]] - text[bounds[:-1]], images[bounds[1:]] - images[bounds[:-1]]


def sum_targets(lengths: np.ndarray, targets: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `Source.target_tokens` gives for n documents; flat as in `sum_lengths`, with `targets` of each segment."""
    sums = np.concatenate([[0], np.cumsum(np.where(targets, lengths, 0), dtype=np.int64)])
    counts = sums[bounds[1:]] - sums[bounds[:-1]]
    # The first segment that is not empty, of this document or, where all of it is empty, of a later one.
    solid = np.append(np.flatnonzero(lengths), len(lengths))
    first = solid[np.searchsorted(solid, bounds[:-1])]
    return counts, (first >= bounds[1:]) | np.append(targets, True)[first]
