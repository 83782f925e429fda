"""The packs of one source, in an endless order: pack k, in O(1), from the source's lengths and a key.

    documents   permuted by (seed, name), cut into blocks of BLOCK          never listed: a formula
    block b     its documents' ranges, packed by best fit                   made when asked, a few kept
    epoch e     the blocks in an order of (seed, name, e), in each its packs in an order of (seed, name, e, b)

A document keeps its pack mates over the epochs, which costs nothing because attention never crosses documents. How many
packs a block has is counted when the order first reaches it, so a run pays for the documents that it reads.
Knows nothing of other sources: adding one changes nothing here.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from mm1.config import UserError
from mm1.data.encode import IMAGE_LENGTH
from mm1.data.order import key_of, permute, shuffled
from mm1.data.packing import fits, pack, split
from mm1.data.sources import Source
from mm1.data.sub_images import SubImagesConfig, num_sub_images

BLOCK = 2048
"""Documents packed together: some hundred packs, enough for best fit to fill them."""

KEPT_BLOCKS = 4


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

    def segment_lengths(self, source: Source, document: int) -> list[int]:
        """Tokens of each text, minus the number of sub-images for each picture."""
        lengths = list(source.segment_lengths(document))
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

    def units(self, source: str, document: int, segment_lengths: Sequence[int]) -> list[Unit]:
        """The units of one document that `fits`, in order; most documents are one unit.

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


@dataclass(frozen=True, slots=True)
class _Block:
    """Units as rows (document, start, stop, document_len, num_images), and the rows of each pack."""

    units: np.ndarray
    packs: list[np.ndarray]

    def tokens(self, packs: np.ndarray | None = None) -> int:
        """Tokens of the packs numbered `packs`, or of all."""
        rows = self.units if packs is None else self.units[[row for number in packs for row in self.packs[number]]]
        return int((rows[:, 2] - rows[:, 1]).sum())


class SourceStream:
    """The packs of `source`, known in the plan as `name`."""

    def __init__(self, source: Source, name: str, seed: int, budget: Budget) -> None:
        if len(source) == 0:
            raise UserError(f"source '{name}' has no documents: prepare it again or take it out of the mixture")
        self.name = name
        self.num_documents = len(source)
        self._source = source
        self._seed = seed
        self._budget = budget
        self._num_blocks = -(-self.num_documents // BLOCK)
        self._pack_bounds, self._token_bounds = [0], [0]  # over the blocks counted so far, in the order of epoch 0
        self._blocks: dict[int, _Block] = {}
        self._epoch: tuple[int, list[int], list[int]] = (0, [], [])

    def pack(self, number: int) -> list[Unit]:
        """The units of pack `number`."""
        epoch, block, _, place = self._locate(number)
        content = self._block(block)
        rows = content.units[content.packs[self._pack_order(epoch, block)[place]]]
        return [Unit(self.name, *row) for row in rows.tolist()]

    def epochs(self, packs: int) -> float:
        """How often the first `packs` packs go through the documents; within a block, by the share of its packs."""
        epoch, block, before, place = self._locate(packs)
        finished = sum(self._size(other) for other in before)
        begun = self._size(block) * place / len(self._block(block).packs)
        return epoch + (finished + begun) / self.num_documents

    def tokens(self, packs: int) -> int:
        """Tokens in the first `packs` packs; padding is not counted."""
        epoch, block, before, place = self._locate(packs)
        whole = sum(self._token_bounds[other + 1] - self._token_bounds[other] for other in before)
        begun = self._block(block).tokens(self._pack_order(epoch, block)[:place]) if place else 0
        return epoch * self._token_bounds[-1] + whole + begun

    @property
    def counts(self) -> np.ndarray:
        """(2, blocks + 1) cumulative packs and tokens of the blocks counted so far: what `restore` takes."""
        return np.array([self._pack_bounds, self._token_bounds], np.int64)

    def restore(self, counts: np.ndarray) -> None:
        """Takes over counts from an earlier run, instead of counting again.

        Raises:
            UserError: the source's first block is not what was counted then.
        """
        if counts.shape[1] > 1:
            first = self._block(0)
            if (len(first.packs), first.tokens()) != tuple(counts[:, 1].tolist()):
                raise UserError(
                    f"source '{self.name}' begins with {first.tokens()} tokens in {len(first.packs)} packs where the "
                    f"plan counted {counts[1, 1]} in {counts[0, 1]}: the data changed under the plan, start a new run"
                )
        self._pack_bounds, self._token_bounds = counts.tolist()

    def _locate(self, number: int) -> tuple[int, int, list[int] | range, int]:
        """Pack `number` as (epoch, block, blocks before it in that epoch, place in the block's order of that epoch)."""
        while self._pack_bounds[-1] <= number and len(self._pack_bounds) <= self._num_blocks:
            content = self._block(len(self._pack_bounds) - 1)
            self._pack_bounds.append(self._pack_bounds[-1] + len(content.packs))
            self._token_bounds.append(self._token_bounds[-1] + content.tokens())
        if number < self._pack_bounds[-1]:
            block = bisect_right(self._pack_bounds, number) - 1
            return 0, block, range(block), number - self._pack_bounds[block]
        epoch, rest = divmod(number, self._pack_bounds[-1])
        if self._epoch[0] != epoch:
            order = shuffled(self._num_blocks, key_of(self._seed, self.name, "blocks", epoch)).tolist()
            sizes = (self._pack_bounds[block + 1] - self._pack_bounds[block] for block in order)
            self._epoch = (epoch, order, [0, *accumulate(sizes)])
        _, order, bounds = self._epoch
        place = bisect_right(bounds, rest) - 1
        return epoch, order[place], order[:place], rest - bounds[place]

    def _pack_order(self, epoch: int, block: int) -> np.ndarray:
        return shuffled(len(self._block(block).packs), key_of(self._seed, self.name, "packs", epoch, block))

    def _size(self, block: int) -> int:
        return min(BLOCK, self.num_documents - block * BLOCK)

    def _block(self, number: int) -> _Block:
        if number not in self._blocks:
            if len(self._blocks) >= KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = self._pack_block(number)
        return self._blocks[number]

    def _pack_block(self, number: int) -> _Block:
        first = number * BLOCK
        positions = np.arange(first, first + self._size(number))
        documents = permute(positions, self.num_documents, key_of(self._seed, self.name, "documents"))
        budget = self._budget
        lengths, images = budget.totals(self._source, documents)
        whole = (lengths <= budget.capacity) & (images <= budget.max_images)
        if budget.pairs:
            whole &= images > 0  # the others are refused by `Budget.units`
        columns = (documents, np.zeros_like(lengths), lengths, lengths, images)
        rows = [np.stack([column[whole] for column in columns], axis=1)]
        for document in documents[~whole].tolist():
            units = budget.units(self.name, document, budget.segment_lengths(self._source, document))
            rows.append(np.array([(u.document, u.start, u.stop, u.document_len, u.num_images) for u in units]))
        table = np.concatenate(rows).astype(np.int64)
        return _Block(table, pack(table[:, 2] - table[:, 1], table[:, 4], budget.capacity, budget.max_images))
