"""Which rows of a global batch each rank takes, and in which microbatch: equal numbers, nearly equal work.

    deal(np.array([9, 8, 2, 1]), ranks=2, at_once=2)        # [[0, 3], [1, 2]]: a dear row and a cheap one for each

Ranks wait for each other in every microbatch, so the slowest sets the pace; and a row of sixteen images may cost half
as much again as one of text. The loss is a sum over all rows, so who takes which matters to nothing else. All ranks
find the same by themselves, from what the plan says. Knows nothing of models or process groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mm1.data.budget import Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class RowCost:
    """What is work in a row, in any unit; of the rest every row has the same. All 0: rows are alike."""

    image: float = 0
    """An image that is encoded."""
    attended_pair: float = 0
    """A position that another of its document, or the position itself, looks at."""
    token: float = 0
    """A position that is not padding."""
    text_token: float = 0
    """A position that is no image's: what is predicted may be among these."""

    def of(self, row: Sequence[Unit], num_image_tokens: int) -> float:
        """The cost of a row whose images take `num_image_tokens` positions each."""
        images = sum(unit.num_images for unit in row)
        pairs = sum(len(unit) * (len(unit) + 1) // 2 for unit in row)
        tokens = sum(len(unit) for unit in row)
        text = tokens - images * num_image_tokens
        return self.image * images + self.attended_pair * pairs + self.token * tokens + self.text_token * text


ALIKE = RowCost()


def deal(costs: np.ndarray, ranks: int, at_once: int) -> np.ndarray:
    """Deals n rows to `ranks` ranks, in microbatches of `at_once`.

    Rows are sorted into layers of one row a rank, the dearest layer first. A microbatch takes layers from all heights,
    so that none is much dearer than another; in each layer the rank that has least so far takes the dearest row. (So
    equal rows are dealt in turn: 0 to the first rank, 1 to the second, ….) Summed over a step's microbatches, the
    dearest rank's cost is above the cheapest's by no more than the dearest row's is above the cheapest row's.

    Args:
        costs: (n,) of each row; n is a multiple of ranks * at_once.
        ranks: among whom.
        at_once: rows of a rank's microbatch.

    Returns:
        (ranks, n / ranks) numbers of rows, microbatch after microbatch, ascending in each.
    """
    layers = np.argsort(-costs, kind="stable").reshape(-1, ranks)
    microbatches = len(layers) // at_once
    dealt = np.empty((ranks, microbatches, at_once), np.int64)
    for number in range(microbatches):
        load = np.zeros(ranks)
        for place, layer in enumerate(layers[number::microbatches]):
            takers = np.argsort(load, kind="stable")
            dealt[takers, number, place] = layer
            load[takers] += costs[layer]
    return np.sort(dealt, axis=2).reshape(ranks, -1)
