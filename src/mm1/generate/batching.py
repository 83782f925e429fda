"""Who is computed together: requests → batches, rows that begin alike, slices without padding worth speaking of.

    requests   [shots|a] [shots|b] [x] [shots|c] [y]            keys of equal things are equal
    batch      group: shots → a, b, c     rows by what is left to compute: [x] [y] [..a] [..b] [..c]
    slices     rows 0–1 in one forward pass, rows 2–4 in another

What requests begin with in common is computed once and copied into their rows. Pure: knows nothing of models or
tensors; a key is any integer that says what stands at a position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PADDING_SHARE = 8
"""A slice's padding may be one position in this many real ones …"""
PADDING_FREE = 256
"""… and this many besides: less than a forward pass of its own would cost."""


@dataclass(frozen=True, slots=True)
class Request:
    """What batching has to know of a prompt."""

    keys: np.ndarray
    """(S,) int64, equal where the same token or the same image stands."""
    sharable: int
    """Leading positions whose hidden states nobody asks for; less than S."""
    capacity: int
    """Positions that its row of the cache must hold."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose first `shared` positions hold the same things."""

    shared: int
    rows: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """Requests that share one cache. Its rows stand in order of what is left to compute, longest first."""

    requests: tuple[int, ...]
    """The number of the request in each row."""
    starts: tuple[int, ...]
    """Positions of each row that come from its group; the rest is computed row by row."""
    groups: tuple[Group, ...]
    """Longest first; rows that share nothing are in none."""


def plan_batches(requests: Sequence[Request], max_positions: int) -> list[BatchPlan]:
    """Deals all requests into batches whose caches hold at most `max_positions`, or one request.

    Lengths within a batch differ by less than a factor of two, and within a length, requests that begin alike stand
    side by side.
    """
    order = sorted(
        range(len(requests)),
        key=lambda i: (requests[i].capacity.bit_length(), requests[i].keys.astype(">i8").tobytes()),
    )
    batches: list[list[int]] = []
    capacity = 0
    for index in order:
        widened = max(capacity, requests[index].capacity)
        same_length = capacity.bit_length() == widened.bit_length()
        if batches and same_length and widened * (len(batches[-1]) + 1) <= max_positions:
            batches[-1].append(index)
            capacity = widened
        else:
            batches.append([index])
            capacity = requests[index].capacity
    return [_plan(requests, batch) for batch in batches]


def slices(lengths: Sequence[int], max_positions: int) -> list[range]:
    """Cuts rows, given longest first, into runs for one forward pass each: bounded in size and in padding."""
    runs: list[range] = []
    first = real = 0
    for row, length in enumerate(lengths):
        padded = lengths[first] * (row + 1 - first)
        real += length
        if row > first and (padded > max_positions or padded - real > PADDING_FREE + real // PADDING_SHARE):
            runs.append(range(first, row))
            first, real = row, length
    return [*runs, range(first, len(lengths))] if lengths else []


def _plan(requests: Sequence[Request], batch: Sequence[int]) -> BatchPlan:
    """`batch` lists requests with those that begin alike side by side."""
    shared_by: dict[int, int] = {}
    found = []
    for start, stop, shared in _alike([requests[index] for index in batch]):
        members = batch[start:stop]
        shared_by.update(dict.fromkeys(members, shared))
        found.append((shared, members))
    left = {index: len(requests[index].keys) - shared_by.get(index, 0) for index in batch}
    order = sorted(batch, key=lambda index: -left[index])
    row_of = {index: row for row, index in enumerate(order)}
    groups = [Group(shared, tuple(row_of[index] for index in members)) for shared, members in found]
    return BatchPlan(
        requests=tuple(order),
        starts=tuple(shared_by.get(index, 0) for index in order),
        groups=tuple(sorted(groups, key=lambda group: -group.shared)),
    )


def _alike(requests: Sequence[Request]) -> list[tuple[int, int, int]]:
    """(start, stop, shared) of each run of two or more in which every request shares half of itself with the last.

    Less is not worth a pass of its own, and would let a short common header break up long common prefixes.
    """
    runs: list[tuple[int, int, int]] = []
    start = shared = 0
    for index, request in enumerate(requests):
        if index > 0:
            last = requests[index - 1]
            common = min(_common(last.keys, request.keys), last.sharable, request.sharable)
            if 2 * common >= len(request.keys):
                shared = common if start == index - 1 else min(shared, common)
                continue
        if index - start > 1:
            runs.append((start, index, shared))
        start = index
    if len(requests) - start > 1:
        runs.append((start, len(requests), shared))
    return runs


def _common(a: np.ndarray, b: np.ndarray) -> int:
    """Length of the longest common beginning."""
    size = min(len(a), len(b))
    differs = np.flatnonzero(a[:size] != b[:size])
    return int(differs[0]) if len(differs) else size
