"""The packs of one source, in an endless order: pack k, in O(1), from the source's lengths and a key.

    documents   permuted by (seed, name), cut into blocks of BLOCK          never listed: a formula
    block b     its documents' units, packed by best fit                    made when asked, a few kept
    epoch e     the blocks in an order of (seed, name, e), in each its packs in an order of (seed, name, e, b)

A document keeps its pack mates over the epochs, which costs nothing because attention never crosses documents. How much
a block holds is counted when the order first reaches it, so a run pays for the documents that it reads; three numbers a
block are then known for good (`counts`), and any pack among them is found at once. Knows nothing of other sources:
adding one changes nothing here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mm1.config import UserError
from mm1.data.budget import Budget, Unit
from mm1.data.order import key_of, permute, shuffled
from mm1.data.packing import members, pack
from mm1.data.sources import Source

BLOCK = 2048
"""Documents packed together: some hundred packs, enough for best fit to fill them."""

KEPT_BLOCKS = 4
"""Of a source, packed, at hand: rows that follow each other come from one, and at an epoch's turn from another."""
COUNTED_AT_ONCE = 16
"""Blocks whose lengths are asked for together when many are counted."""


@dataclass(frozen=True)
class _Block:
    """Units as rows (document, start, stop, document_len, num_images, num_targets), and the pack of each."""

    units: np.ndarray
    packs: np.ndarray

    @property
    def contents(self) -> tuple[int, int, int]:
        """Packs, tokens and targets."""
        return int(self.packs.max()) + 1, *self._held(self.units)

    def rows(self, pack: int) -> np.ndarray:
        """The units of a pack."""
        order, bounds = self._members
        rows: np.ndarray = self.units[order[bounds[pack] : bounds[pack + 1]]]
        return rows

    def held(self, packs: np.ndarray) -> tuple[int, int]:
        """Tokens and targets in the packs numbered `packs`."""
        return self._held(self.units[np.isin(self.packs, packs)])

    @staticmethod
    def _held(rows: np.ndarray) -> tuple[int, int]:
        return int((rows[:, 2] - rows[:, 1]).sum()), int(rows[:, 5].sum())

    @cached_property
    def _members(self) -> tuple[np.ndarray, np.ndarray]:
        return members(self.packs)


class SourceStream:
    """The packs of `source`, known in the plan as `name`."""

    def __init__(self, source: Source, name: str, seed: int, budget: Budget) -> None:
        if len(source) == 0:
            raise UserError(f"source '{name}' has no documents: prepare it again or take it out of the mixture")
        self.name = name
        self.num_documents = len(source)
        self.num_blocks = -(-self.num_documents // BLOCK)
        self._source = source
        self._seed = seed
        self._budget = budget
        self._bounds = np.zeros((3, 64), np.int64)
        self._counted = 0
        self._blocks: dict[int, _Block] = {}
        self._order_of: tuple[int, np.ndarray] = (0, np.empty(0, np.int64))
        self._bounds_of: tuple[int, np.ndarray] = (0, np.empty(0, np.int64))
        """The order of an epoch and the packs before each turn of it, of the epoch that was asked for last."""

    @property
    def counts(self) -> np.ndarray:
        """(3, blocks + 1) packs, tokens and targets before each block counted so far: what `restore` takes."""
        return self._bounds[:, : self._counted + 1]

    def count(self, blocks: int) -> None:
        """Counts the first `blocks` blocks, or all that there are."""
        blocks = min(blocks, self.num_blocks)
        while self._counted < blocks:
            first = self._counted
            contents = self.contents(first, min(blocks, first + COUNTED_AT_ONCE))
            self.learn(first, self._bounds[:, [first]] + np.pad(np.cumsum(contents, axis=1), ((0, 0), (1, 0))))

    def contents(self, first: int, stop: int) -> np.ndarray:
        """(3, stop - first) packs, tokens and targets in each of the blocks first … stop - 1; changes no count."""
        return np.array([block.contents for block in self._packed(first, stop)], np.int64).T

    def learn(self, first: int, counts: np.ndarray) -> None:
        """Takes over what another copy of this stream counted: `counts` (3, n + 1) from block `first` on."""
        last = first + counts.shape[1] - 1
        if first <= self._counted < last:
            while last >= self._bounds.shape[1]:
                self._bounds = np.concatenate([self._bounds, np.zeros_like(self._bounds)], axis=1)
            self._bounds[:, first : last + 1] = counts
            self._counted = last

    def restore(self, counts: np.ndarray) -> None:
        """Takes over counts from an earlier run, instead of counting again.

        Raises:
            UserError: the source's first block is not what was counted then.
        """
        if counts.shape[1] > 1:
            tokens = int(self._budget.totals(self._source, self._documents(0, 1))[0].sum())
            if tokens != counts[1, 1]:
                raise UserError(
                    f"source '{self.name}' begins with {tokens} tokens where the plan counted {counts[1, 1]}: the data "
                    "changed under the plan, start a new run"
                )
        self._bounds, self._counted = counts.copy(), counts.shape[1] - 1

    def pack(self, number: int) -> list[Unit]:
        """The units of pack `number`."""
        epoch, turn, place = self._locate(number)
        block = self._block_at(epoch, turn)
        rows = self._block(block).rows(self._pack_order(epoch, block)[place])
        return [Unit(self.name, *row) for row in rows.tolist()]

    def epochs(self, packs: int) -> float:
        """How often the first `packs` packs go through the documents; within a block, by the share of its packs."""
        epoch, turn, place = self._locate(packs)
        block, last = self._block_at(epoch, turn), self.num_blocks - 1
        finished = turn * BLOCK - (last in self._order(epoch)[:turn]) * (BLOCK - self._size(last))
        begun = self._size(block) * place / self._block(block).contents[0]
        return float(epoch + (finished + begun) / self.num_documents)

    def tokens(self, packs: int) -> int:
        """Tokens in the first `packs` packs; padding is not counted."""
        return int(self._contents(packs)[0])

    def targets(self, packs: int) -> int:
        """Tokens that are predicted in the first `packs` packs, if the budget counts them."""
        return int(self._contents(packs)[1])

    def _contents(self, packs: int) -> np.ndarray:
        """(2,) tokens and targets of the first `packs` packs."""
        epoch, turn, place = self._locate(packs)
        block, before = self._block_at(epoch, turn), self._order(epoch)[:turn]
        bounds = self._bounds[1:]
        whole = (bounds[:, before + 1] - bounds[:, before]).sum(axis=1)
        begun = self._block(block).held(self._pack_order(epoch, block)[:place]) if place else 0
        contents: np.ndarray = epoch * bounds[:, self._counted] + whole + begun
        return contents

    def _locate(self, number: int) -> tuple[int, int, int]:
        """Pack `number` as (epoch, turn of its block in that epoch, place in the block's order of that epoch)."""
        while (known := int(self._bounds[0, self._counted])) <= number and self._counted < self.num_blocks:
            # As many blocks as are missing by those that are known: all together are counted faster.
            self.count(self._counted + max(1, (number - known) * self._counted // max(1, known)))
        bounds = self._bounds[0, : self._counted + 1]
        epoch, rest = (0, number) if number < bounds[-1] else divmod(number, int(bounds[-1]))
        if epoch:
            if self._bounds_of[0] != epoch:
                self._bounds_of = (epoch, np.concatenate([[0], np.cumsum(np.diff(bounds)[self._order(epoch)])]))
            bounds = self._bounds_of[1]
        turn = int(np.searchsorted(bounds, rest, side="right")) - 1
        return epoch, turn, rest - int(bounds[turn])

    def _order(self, epoch: int) -> np.ndarray:
        """(blocks,) the blocks in the order of an epoch."""
        if epoch == 0:
            return np.arange(self.num_blocks)
        if self._order_of[0] != epoch:
            self._order_of = (epoch, shuffled(self.num_blocks, key_of(self._seed, self.name, "blocks", epoch)))
        return self._order_of[1]

    def _block_at(self, epoch: int, turn: int) -> int:
        return int(self._order(epoch)[turn]) if epoch else turn

    def _pack_order(self, epoch: int, block: int) -> np.ndarray:
        return shuffled(self._block(block).contents[0], key_of(self._seed, self.name, "packs", epoch, block))

    def _size(self, block: int) -> int:
        return min(BLOCK, self.num_documents - block * BLOCK)

    def _block(self, number: int) -> _Block:
        if number not in self._blocks:
            list(self._packed(number, number + 1))
        return self._blocks[number]

    def _documents(self, first: int, stop: int) -> np.ndarray:
        """(n,) the documents of the blocks first … stop - 1."""
        positions = np.arange(first * BLOCK, min(stop * BLOCK, self.num_documents))
        return permute(positions, self.num_documents, key_of(self._seed, self.name, "documents"))

    def _packed(self, first: int, stop: int) -> Iterator[_Block]:
        """The blocks first … stop - 1, each kept for a while."""
        budget = self._budget
        units, places = budget.table(self._source, self.name, self._documents(first, stop))
        bounds = np.searchsorted(places, BLOCK * np.arange(stop - first + 1))
        for number in range(first, stop):
            rows = units[bounds[number - first] : bounds[number - first + 1]]
            block = _Block(rows, pack(rows[:, 2] - rows[:, 1], rows[:, 4], budget.capacity, budget.max_images))
            if len(self._blocks) >= KEPT_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = block
            yield block
