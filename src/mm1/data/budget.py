"""Documents against the budgets of a pack: how long they are there, and the units into which long ones are cut.

    budget.totals(source, documents)       tokens and images of whole documents, many at once
    budget.units(source, "pages", 17)      [Unit("pages", 17, start=0, stop=4096, …), Unit("pages", 17, 4096, …)]
    budget.table(source, "pages", documents)   the same of many documents, as rows of numbers

The arithmetic of positions in one place: image tokens, sub-images, BOS and EOS. Knows nothing of packs or order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from mm1.config import UserError
from mm1.data.encode import IMAGE_LENGTH
from mm1.data.packing import fits, split
from mm1.data.sources import Source
from mm1.data.sub_images import SubImagesConfig, num_sub_images


@dataclass(frozen=True, slots=True)
class Unit:
    """Tokens [start, stop) of a document, which has `document_len` tokens in all, BOS and EOS included.

    A unit that goes on with a document begins without BOS, as a range of its tokens: it is no beginning.
    """

    source: str
    document: int
    start: int
    stop: int
    document_len: int
    num_images: int
    """As the image encoder counts them: each sub-image is one."""
    num_targets: int = 0
    """Tokens that are predicted, where the budget `counts_targets`."""

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Budget:
    """What a pack may hold, and how documents are read for it."""

    capacity: int
    max_images: int
    num_image_tokens: int
    image_size: int
    sub_images: SubImagesConfig
    pairs: bool
    bos: bool
    counts_targets: bool = False
    """Whether units say how many of their tokens are predicted; costs a look at what counts toward the loss."""

    def segment_lengths(self, source: Source, document: int) -> list[int]:
        """Tokens of each text, minus the number of sub-images for each picture."""
        lengths = list(source.segment_lengths(document))
        if not self.sub_images.depends_on_size:
            picture = -self.sub_images.max_sub_images
            return [picture if length == IMAGE_LENGTH else length for length in lengths]
        places = [index for index, length in enumerate(lengths) if length == IMAGE_LENGTH]
        counts = self._num_sub_images(source, np.array([document]), len(places))
        for place, count in zip(places, counts.tolist(), strict=True):
            lengths[place] = -count
        return lengths

    def totals(self, source: Source, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) tokens and (n,) images of the whole `documents` (n,), each sub-image counted."""
        text, pictures = source.totals(documents)
        ends = np.cumsum(pictures)
        before = np.concatenate([[0], np.cumsum(self._num_sub_images(source, documents, int(pictures.sum())))])
        images = before[ends] - before[ends - pictures]
        segments = pictures if self.pairs else 1
        return text + images * self.num_image_tokens + (1 + self.bos) * segments, images

    def _num_sub_images(self, source: Source, documents: np.ndarray, num_pictures: int) -> np.ndarray:
        """(num_pictures,) sub-images of the pictures in `documents`, in order. Sizes are read only if they matter."""
        if not self.sub_images.depends_on_size:
            return np.full(num_pictures, self.sub_images.max_sub_images)
        widths, heights = source.image_sizes(documents).T
        return num_sub_images(self.sub_images, self.image_size, widths, heights)

    def fits(self, segment_lengths: Sequence[int]) -> bool:
        """Whether every picture of a document has room; in a plan's own budget each has."""
        return fits(segment_lengths, self.num_image_tokens, self.capacity, self.max_images, bos=self.bos)

    def num_targets(self, source: Source, documents: np.ndarray) -> np.ndarray:
        """(n,) tokens that are predicted in the whole `documents` (n,), EOS among them; 0 where they do not matter."""
        if not self.counts_targets:
            return np.zeros(len(documents), np.int64)
        targets, begin = source.target_tokens(documents)
        # Nothing precedes a document's first token, unless there is a BOS.
        return targets + 1 if self.bos else targets + 1 - begin

    def units(self, source: Source, name: str, document: int) -> list[Unit]:
        """The units of one document of `source`, in order; most documents are one unit. As `cut`."""
        lengths = self.segment_lengths(source, document)
        units = self.cut(name, document, lengths)
        if not self.counts_targets:
            return units
        targets = np.repeat([False, *source.segment_targets(document), True], [self.bos, *self._positions(lengths), 1])
        # A unit's own first token is not predicted.
        return [replace(unit, num_targets=int(targets[unit.start + 1 : unit.stop].sum())) for unit in units]

    def table(self, source: Source, name: str, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The units of many documents without an object for each: what `units` gives, document by document.

        Returns:
            (u, 6) int64 the fields of each Unit after its source, and (u,) to which of `documents` (n,) it belongs.
        """
        lengths, images = self.totals(source, documents)
        whole = (lengths <= self.capacity) & (images <= self.max_images)
        if self.pairs:
            whole &= images > 0  # the others are refused by `cut`
        # A text without images is cut at every `capacity` tokens, whatever its segments are.
        is_text = (images == 0) & (not self.pairs) & (not self.counts_targets)
        simple = np.flatnonzero(whole | is_text)
        pieces = -(-lengths[simple] // self.capacity)
        owners = np.repeat(simple, pieces)
        starts = self.capacity * (np.arange(len(owners)) - np.repeat(np.cumsum(pieces) - pieces, pieces))
        stops = np.minimum(starts + self.capacity, lengths[owners])
        targets = self.num_targets(source, documents)
        columns = (documents[owners], starts, stops, lengths[owners], images[owners], targets[owners])
        others = np.flatnonzero(~(whole | is_text))
        units = [self.units(source, name, document) for document in documents[others].tolist()]
        rows = np.array([_row(unit) for each in units for unit in each], np.int64).reshape(-1, 6)
        owners = np.concatenate([owners, np.repeat(others, [len(each) for each in units])])
        order = np.argsort(owners, kind="stable")
        return np.concatenate([np.stack(columns, axis=1), rows])[order], owners[order]

    def _positions(self, segment_lengths: Sequence[int]) -> list[int]:
        """Of each segment."""
        return [length if length >= 0 else -length * self.num_image_tokens for length in segment_lengths]

    def cut(self, source: str, document: int, segment_lengths: Sequence[int]) -> list[Unit]:
        """The units of one document that `fits`, of which the lengths are known.

        Raises:
            UserError: with `pairs`, the document begins with text or has no image.
        """
        if self.pairs and not (segment_lengths and segment_lengths[0] < 0):
            raise UserError(
                f"document {document} of source '{source}' does not begin with an image: "
                "contrastive training reads image-text pairs only, leave the source out"
            )
        ranges = split(
            segment_lengths, self.num_image_tokens, self.capacity, self.max_images, pairs=self.pairs, bos=self.bos
        )
        end = ranges[-1].stop
        return [Unit(source, document, part.start, part.stop, end, part.num_images) for part in ranges]


def _row(unit: Unit) -> tuple[int, ...]:
    return unit.document, unit.start, unit.stop, unit.document_len, unit.num_images, unit.num_targets
