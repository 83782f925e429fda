"""Which documents of a step each rank takes, and in which microbatch: nearly equal work, so that nobody waits long.

    rows of a step     A | B B B B | C C D D | E E F F        A has images, the others are text
    by row             rank 0: A, B B B B                     as many rows for each, the dear ones shared out
                       rank 1: C C D D, E E F F
    by document        rank 0: A, C C, F F                    as many tokens and images as fit in the rows
                       rank 1: B B B B, D D, E E

Ranks wait for each other in every microbatch, so the dearest sets the pace; and a row of sixteen images may cost half
as much again as one of text. The loss is a sum over all documents, so who takes which matters to nothing else. All
ranks find the same by themselves, from what the plan says. Knows nothing of models or process groups.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mm1.data.budget import Budget, Unit

Place: TypeAlias = tuple[int, int]
"""A unit of a step: the number of its row, and its own in that row."""

ATTEMPTS = 32
"""Microbatches looked at for a document, on average, before rows are dealt instead: nothing fits where all are full."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What is work in a document, in any unit. What rows have in common may be left out; all 0: rows are alike."""

    image: float = 0
    """An image that is encoded."""
    attended_pair: float = 0
    """A position that another of its document, or the position itself, looks at."""
    token: float = 0
    """A position that is not padding."""
    text_token: float = 0
    """A position that is no image's: what is predicted may be among these."""

    def of(self, unit: Unit, num_image_tokens: int) -> float:
        """The cost of a unit whose images take `num_image_tokens` positions each."""
        tokens, images = len(unit), unit.num_images
        pairs, text = tokens * (tokens + 1) // 2, tokens - images * num_image_tokens
        return self.image * images + self.attended_pair * pairs + self.token * tokens + self.text_token * text


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealing:
    """How a step comes to ranks and microbatches."""

    cost: Cost = Cost()
    microbatch_rows: int | None = None
    """Rows that a rank handles at once; None: all that it has."""
    by_document: bool = False
    """Whether rows may be taken apart. What a rank handles at once is then one long row."""

    def places(self, rows: Sequence[Sequence[Unit]], ranks: int, budget: Budget) -> list[list[list[Place]]]:
        """What each rank computes of a step, row after row, in the order of its microbatches.

        Args:
            rows: the step's, each within `budget`; a multiple of a microbatch of every rank.
            ranks: among how many they are dealt.
            budget: of a row.

        Returns:
            By rank and row, the places of what stands there. A rank has as many rows as any other.
        """
        at_once = self.microbatch_rows or len(rows) // ranks
        costs = [[self.cost.of(unit, budget.num_image_tokens) for unit in row] for row in rows]
        if self.by_document and (dealt := _by_document(rows, costs, ranks, at_once, budget)) is not None:
            return dealt
        joined = at_once if self.by_document else 1
        numbers = deal_rows(np.array([sum(own) for own in costs]), ranks, at_once).reshape(ranks, -1, joined).tolist()
        return [[[(row, n) for row in group for n in range(len(rows[row]))] for group in own] for own in numbers]


IN_TURN = Dealing()
"""Rows as they come, one to each rank."""


def deal_rows(costs: np.ndarray, ranks: int, at_once: int) -> np.ndarray:
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


def deal_documents(costs: np.ndarray, needs: np.ndarray, microbatches: int, room: tuple[int, int]) -> np.ndarray | None:
    """Deals n documents to `microbatches`: the dearest first, each to the cheapest so far that has room for it.

    Args:
        costs: (n,) of each document.
        needs: (2, n) its tokens and images.
        microbatches: of all ranks together.
        room: tokens and images that each holds at most.

    Returns:
        (n,) the microbatch of each, the dearest numbered 0; None where that leaves a document without room.
    """
    dealt = np.zeros(len(costs), np.int64)
    left = [list(room) for _ in range(microbatches)]
    queue = [(0.0, number) for number in range(microbatches)]
    attempts = ATTEMPTS * len(costs) + microbatches
    order = np.argsort(-costs, kind="stable")
    for document, cost, tokens, images in zip(
        order.tolist(), costs[order].tolist(), *needs[:, order].tolist(), strict=True
    ):
        full = []
        while queue and (left[queue[0][1]][0] < tokens or left[queue[0][1]][1] < images):
            full.append(heapq.heappop(queue))
        attempts -= len(full)
        if not queue or attempts < 0:
            return None
        load, number = queue[0]
        heapq.heapreplace(queue, (load + cost, number))
        left[number][0] -= tokens
        left[number][1] -= images
        dealt[document] = number
        for one in full:
            heapq.heappush(queue, one)
    rank = np.empty(microbatches, np.int64)
    rank[[number for _, number in sorted(queue, reverse=True)]] = np.arange(microbatches)
    return rank[dealt]


def _by_document(
    rows: Sequence[Sequence[Unit]], costs: Sequence[Sequence[float]], ranks: int, at_once: int, budget: Budget
) -> list[list[list[Place]]] | None:
    """By rank and microbatch, each about as dear as the other ranks' at its time; None where no such deal is found."""
    places = [(row, number) for row, units in enumerate(rows) for number in range(len(units))]
    units = [rows[row][number] for row, number in places]
    needs = np.array([[len(unit), unit.num_images] for unit in units], np.int64).reshape(-1, 2).T
    microbatches = len(rows) // at_once
    room = (at_once * budget.capacity, at_once * budget.max_images)
    numbers = deal_documents(np.array([cost for own in costs for cost in own]), needs, microbatches, room)
    if numbers is None:
        return None
    dealt: list[list[list[Place]]] = [[[] for _ in range(microbatches // ranks)] for _ in range(ranks)]
    for place, number in zip(places, numbers.tolist(), strict=True):
        turn, rank = divmod(number, ranks)
        dealt[rank if turn % 2 == 0 else ranks - 1 - rank][turn].append(place)
    return dealt
