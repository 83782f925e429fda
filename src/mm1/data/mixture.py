"""How much of each source a run reads, and which source each pack of the run comes from.

    MixtureConfig(groups=(
        GroupConfig(name="interleaved", weight=0.45, sources=(SourceConfig(name="pages"),)),
        GroupConfig(name="image_text", weight=0.45, sources=(SourceConfig(name="captions"), SourceConfig(name="alt"))),
        GroupConfig(name="text_only", weight=0.10, sources=(SourceConfig(name="text"),))))

Packs are dealt in blocks: in each block every source has its exact share, rounded up or down, and the order is shuffled
by (seed, block). What is rounded off is made up for in later blocks. Knows nothing of documents or packing.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field, model_validator

from mm1.config import Config
from mm1.data.order import key_of, shuffled

BLOCK = 100
"""Packs dealt at once: shares are exact to one pack in it, so a short run has its mixture as well as a long one."""

GOLDEN = 0.6180339887498949


class SourceConfig(Config):
    """A source of documents, by name."""

    name: str
    weight: float = Field(1.0, ge=0)
    """Relative to the other sources of its group; 0 leaves the source out."""


class GroupConfig(Config):
    """Sources that share a part of the mixture, such as the paper's interleaved, image-text and text-only data."""

    name: str
    weight: float = Field(1.0, ge=0)
    """Relative to the other groups, in sequences."""
    sources: tuple[SourceConfig, ...] = Field(min_length=1)


class MixtureConfig(Config):
    """Weights of everything a run reads."""

    groups: tuple[GroupConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> MixtureConfig:
        names = [source.name for group in self.groups for source in group.sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"source '{min(twice)}' stands in the mixture twice: give it one weight in one group")
        if not self.shares():
            raise ValueError("every weight is 0: give a group and a source of it some weight")
        return self

    def shares(self) -> dict[str, float]:
        """Share of the sequences by source, summing to 1, in declaration order; sources without weight are left out."""
        products = {}
        for group in self.groups:
            inner = sum(source.weight for source in group.sources)
            for source in group.sources:
                if group.weight * source.weight > 0:
                    products[source.name] = group.weight * source.weight / inner
        total = sum(products.values())
        return {name: value / total for name, value in products.items()}


class Deal:
    """Which source each pack of a run comes from, and how many of that source's packs went before."""

    def __init__(self, mixture: MixtureConfig, seed: int) -> None:
        shares = mixture.shares()
        self.names = tuple(shares)
        self._exact = BLOCK * np.array(list(shares.values()))
        self._seed = seed
        self._before = np.zeros((1, len(shares)), np.int64)
        self._current: tuple[int, np.ndarray] = (-1, np.empty(0))

    def pack(self, number: int) -> tuple[str, int]:
        """Pack `number` of the run as (source, k): the k-th pack of that source, counted from 0."""
        block, place = divmod(number, BLOCK)
        dealt = self._dealt(block)
        source = int(dealt[place])
        earlier = int(np.count_nonzero(dealt[:place] == source))
        return self.names[source], int(self._before[block, source]) + earlier

    def counts(self, packs: int) -> dict[str, int]:
        """Packs of each source among the first `packs`."""
        block, place = divmod(packs, BLOCK)
        inside = np.bincount(self._dealt(block)[:place], minlength=len(self.names))
        totals = self._before[block] + inside
        return {name: int(total) for name, total in zip(self.names, totals, strict=True)}

    def _dealt(self, block: int) -> np.ndarray:
        """(BLOCK,) the source of each pack of a block; `_before` then reaches to the block's end."""
        while len(self._before) < block + 2:
            first = len(self._before) - 1
            more = self._rounded(np.arange(first, max(block + 1, 2 * first)))
            self._before = np.concatenate([self._before, self._before[-1] + np.cumsum(more, axis=0)])
        if self._current[0] != block:
            in_order = np.repeat(np.arange(len(self.names)), self._before[block + 1] - self._before[block])
            self._current = (block, in_order[shuffled(BLOCK, key_of(self._seed, "deal", block))])
        return self._current[1]

    def _rounded(self, blocks: np.ndarray) -> np.ndarray:
        """(blocks, sources) whole packs of each source: each exact share rounded up or down, BLOCK in every row.

        Systematic rounding: on a line of the shares' fractions laid end to end, a source gets one more pack where a
        comb of unit teeth meets its stretch. The comb moves by the golden ratio from block to block, so that over the
        blocks every source gets its fraction with the least error.
        """
        whole = np.floor(self._exact + 1e-9)
        ends = np.cumsum(self._exact - whole)
        ends[-1] = round(ends[-1])
        offset = (blocks * GOLDEN % 1.0)[:, None]
        teeth = np.floor(ends + offset - 1e-9).astype(np.int64)
        extra = np.diff(teeth, axis=1, prepend=np.floor(offset - 1e-9).astype(np.int64))
        rounded: np.ndarray = whole.astype(np.int64) + extra
        return rounded
