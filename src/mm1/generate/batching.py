"""Who is computed together: requests → batches, rows that begin alike, slices without padding worth speaking of.

    requests   [shots|a] [shots|b] [x] [shots|c] [y]            keys of equal things are equal
    batch      group: shots → a, b, c     rows by what is left to compute: [x] [y] [..a] [..b] [..c]
    slices     rows 0–1 in one forward pass, rows 2–4 in another

What requests begin with in common is computed once and copied into their rows. Pure: knows nothing of models or
tensors; a key is any integer that says what stands at a position.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    known: int = 0
    """Leading positions that stand in a memory, at most `sharable`."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows whose first `shared` positions hold the same things; one row, if these stand in a memory."""

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
    runs = _runs(requests, order)
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
    return [_plan(requests, batch, runs) for batch in batches]


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


def common_beginning(a: np.ndarray, b: np.ndarray) -> int:
    """How many first items of both are equal."""
    size = min(len(a), len(b))
    differs = np.flatnonzero(a[:size] != b[:size])
    return int(differs[0]) if len(differs) else size


def _plan(requests: Sequence[Request], batch: Sequence[int], runs: Mapping[int, _Run]) -> BatchPlan:
    """`runs` holds the run of each request that shares something with others."""
    groups: dict[int, list[int]] = {}
    starts = {index: requests[index].known for index in batch}
    for index in batch:
        if index in runs and runs[index].shared >= starts[index]:
            starts[index] = runs[index].shared
    order = sorted(batch, key=lambda index: starts[index] - len(requests[index].keys))
    for row, index in enumerate(order):
        if starts[index]:
            with_others = index in runs and runs[index].shared == starts[index]
            # A run is called by its first member; who goes alone, by a name that is nobody's number.
            groups.setdefault(runs[index].members[0] if with_others else -1 - index, []).append(row)
    made = [Group(starts[order[rows[0]]], tuple(rows)) for rows in groups.values()]
    return BatchPlan(
        requests=tuple(order),
        starts=tuple(starts[index] for index in order),
        groups=tuple(sorted(made, key=lambda group: -group.shared)),
    )


@dataclass(slots=True)
class _Run:
    """Requests that begin alike, side by side in the order."""

    members: list[int]
    shared: int = 0


def _runs(requests: Sequence[Request], order: Sequence[int]) -> dict[int, _Run]:
    """The run of each request that stands in one of two or more.

    In a run every request shares half of itself with the one before: less is not worth a pass of its own. And no
    request joins that would make the others give up more than it gains, or a common header would break up long shots.
    """
    runs: list[_Run] = []
    for index in order:
        if runs:
            run = runs[-1]
            last, request = requests[run.members[-1]], requests[index]
            common = min(common_beginning(last.keys, request.keys), last.sharable, request.sharable)
            alone = len(run.members) == 1
            given_up = 0 if alone else len(run.members) * (run.shared - common)
            if 2 * common >= len(request.keys) and given_up <= common:
                run.shared = common if alone else min(run.shared, common)
                run.members.append(index)
                continue
        runs.append(_Run([index]))
    return {index: run for run in runs if len(run.members) > 1 for index in run.members}
