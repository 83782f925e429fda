"""How much of each source a run reads, and which source each pack of the run comes from.

    MixtureConfig(groups=(
        GroupConfig(name="interleaved", weight=0.45, sources=(SourceConfig(name="pages"),)),
        GroupConfig(name="image_text", weight=0.45, sources=(SourceConfig(name="captions"), SourceConfig(name="alt"))),
        GroupConfig(name="text_only", weight=0.10, sources=(SourceConfig(name="text"),))))

Packs are dealt in blocks: in each block every source has its exact share, rounded up or down, and the order is shuffled
by (seed, block). What is rounded off is made up for in later blocks. Knows nothing of documents or packing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from mm1.config import Config
from mm1.data.order import key_of, shuffled

BLOCK = 100
"""Packs dealt at once: shares are exact to one pack in it, so a short run has its mixture as well as a long one."""

UNIT = 1 << 53
GOLDEN = round(0.6180339887498949 * UNIT)
"""The golden ratio in units, in whole numbers: a share is the same on every machine, however far a run goes."""


class SourceConfig(Config):
    """A source of documents, by name."""

    name: str
    weight: float = Field(1.0, ge=0)
    """Relative to the other sources of its group; 0 leaves the source out."""


class GroupConfig(Config):
    """Sources that share a part of the mixture, such as the paper's interleaved, image-text and text-only data."""

    name: str
    weight: float = Field(1.0, ge=0)
    """Relative to the other groups, in what `MixtureConfig.measure` says."""
    sources: tuple[SourceConfig, ...] = Field(min_length=1)


class MixtureConfig(Config):
    """Weights of everything a run reads."""

    groups: tuple[GroupConfig, ...] = Field(min_length=1)
    measure: Literal["sequences", "target_tokens"] = "sequences"
    """What weights are shares of: sequences, as in MM1, or the tokens that are predicted. A caption in a sequence of
    images leaves few targets where a book leaves all, so the two differ much."""

    @model_validator(mode="after")
    def _check(self) -> MixtureConfig:
        names = [source.name for group in self.groups for source in group.sources]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"source '{min(twice)}' stands in the mixture twice: give it one weight in one group")
        if not self.shares():
            raise ValueError("every weight is 0: give a group and a source of it some weight")
        return self

    def shares(self) -> dict[str, float]:
        """Share of the measure by source, summing to 1, in declaration order; sources without weight are left out."""
        products = {}
        for group in self.groups:
            inner = sum(source.weight for source in group.sources)
            for source in group.sources:
                if group.weight * source.weight > 0:
                    products[source.name] = group.weight * source.weight / inner
        total = sum(products.values())
        return {name: value / total for name, value in products.items()}


class Deal:
    """Which source each pack of a run comes from, and how many of that source's packs went before.

    Any pack is found in the same time, the first as the billionth: nothing is counted through from the beginning.

    Args:
        shares: of the packs, by source; they sum to 1.
        seed: of the order within blocks.
    """

    def __init__(self, shares: Mapping[str, float], seed: int) -> None:
        self.names = tuple(shares)
        exact = BLOCK * np.array(list(shares.values()))
        whole = np.floor(exact + 1e-9)
        ends = np.cumsum(exact - whole)
        ends[-1] = round(ends[-1])
        self._whole: list[int] = whole.astype(np.int64).tolist()
        # A hair before each end, so that one on a tooth but for its rounding is always on the same side of it.
        self._ends = [round((end + 1 - 1e-9) * UNIT) for end in (0.0, *ends.tolist())]
        self._seed = seed
        self._current: tuple[int, np.ndarray] = (-1, np.empty(0))

    def pack(self, number: int) -> tuple[str, int]:
        """Pack `number` of the run as (source, k): the k-th pack of that source, counted from 0."""
        block, place = divmod(number, BLOCK)
        dealt = self._dealt(block)
        source = int(dealt[place])
        return self.names[source], self._before(source, block) + int(np.count_nonzero(dealt[:place] == source))

    def counts(self, packs: int) -> dict[str, int]:
        """Packs of each source among the first `packs`."""
        block, place = divmod(packs, BLOCK)
        inside = np.bincount(self._dealt(block)[:place], minlength=len(self.names)).tolist()
        return {name: self._before(source, block) + inside[source] for source, name in enumerate(self.names)}

    def _dealt(self, block: int) -> np.ndarray:
        """(BLOCK,) the source of each pack of a block."""
        if self._current[0] != block:
            sources = range(len(self.names))
            counts = [self._before(source, block + 1) - self._before(source, block) for source in sources]
            in_order = np.repeat(np.arange(len(self.names)), counts)
            self._current = (block, in_order[shuffled(BLOCK, key_of(self._seed, "deal", block))])
        return self._current[1]

    def _before(self, source: int, block: int) -> int:
        """Packs of a source in the blocks before `block`: its exact share of each, rounded up or down.

        Systematic rounding: on a line of the shares' fractions laid end to end, a source gets one more pack where a
        comb of unit teeth meets its stretch. The comb moves by the golden ratio from block to block, so that over the
        blocks every source gets its fraction with the least error, and all sources together BLOCK packs a block.
        """
        teeth = [sum_of_floors(block, UNIT, GOLDEN, self._ends[source + end]) for end in (0, 1)]
        return self._whole[source] * block + teeth[1] - teeth[0]


def sum_of_floors(count: int, divisor: int, step: int, start: int) -> int:
    """The sum of floor((step * i + start) / divisor) over i = 0 … count - 1, in O(log divisor); none is negative.

    As Euclid's algorithm: whole parts are summed at once, and what is left is the same question, turned on its side,
    with `step` and `divisor` changing places.
    """
    total = 0
    while count:
        total += count * (count - 1) // 2 * (step // divisor) + count * (start // divisor)
        step, start = step % divisor, start % divisor
        count, start = divmod(step * count + start, divisor)
        step, divisor = divisor, step
    return total
