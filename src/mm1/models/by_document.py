"""Attention document by document: documents of about one length make a batch, and no pair across documents is computed.

    row 0   a a a b b b b b     groups of one length (here a multiple of 4)    a a a ·    b b b b b · · ·
    row 1   c c c c d d d d     in which · is a place that nobody sees         c c c c
                                                                               d d d d
    groups = group_documents(segment_ids, rule)                # made once a forward, on the host's own device
    attend_by_document(q, k, v, groups, dense_attention)       # (B, H, S, K), as dense attention over whole rows

Rows are packed to be full, so a row of many short documents costs, where all pairs of its positions are computed, many
times what its documents do: 2.6 times in rows of 448 positions with 36 an image, 6 times in rows of 256 with 4.
Reads the documents' lengths, for which an accelerator would wait; it has kernels that skip (`flex.py`). Knows nothing
of caches, of windows, or of how a group is attended to.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from mm1.models.flex import Rule

GRAIN = 16
"""Lengths of groups are multiples of it. 8 makes more groups and 32 more places that nobody sees; at both settings of
`mm1 bench train` neither is faster, and one of them is slower by a fifth."""

Kernel: TypeAlias = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
"""Queries (n, H, L, K), keys and values (n, G, L, K), allowed (n, 1, L, L) → mixed values (n, H, L, K)."""


@dataclass(frozen=True, slots=True)
class DocumentGroups:
    """Where each document of packed rows stands in its group. Groups lie one behind the other, as slots."""

    allowed: tuple[Bool[Tensor, "_ 1 _ _"], ...]
    """Of each group of documents: which of a document's places sees which. Nobody sees a place past a document's
    end; what stands there repeats the document's last position, so that nothing of another is even near."""
    positions: Int[Tensor, " slots"]
    """The position, row · S + column, that stands in each slot."""
    slots: Int[Tensor, " positions"]
    """The slot in which each position stands."""


def group_documents(segment_ids: Int[Tensor, "B S"], sees: Rule) -> DocumentGroups:
    """Groups of the documents of packed rows: the positions of a row that share an id, padding's included.

    Args:
        segment_ids: documents may stand in any order, and in pieces.
        sees: who sees whom within a document. Nobody sees anybody of another.
    """
    rows, length = segment_ids.shape
    every = torch.arange(rows * length)
    number = (segment_ids + (segment_ids.amax() + 2) * torch.arange(rows)[:, None]).flatten() if rows else every
    order = number.argsort(stable=True)
    lengths = torch.unique_consecutive(number[order], return_counts=True)[1]
    starts = lengths.cumsum(0) - lengths
    padded = -(-lengths // GRAIN) * GRAIN
    allowed, positions, slots, used = [], [], torch.empty_like(every), 0
    for width in padded.unique().tolist() or [length]:
        here = padded == width
        place, ends = torch.arange(width), lengths[here, None]
        position = order[starts[here, None] + torch.minimum(place, ends - 1)]
        row, column, exists = position[:, :1, None] // length, position % length, place < ends
        allowed.append((sees(row, column[:, :, None], column[:, None]) & exists[:, None])[:, None])
        slots[position[exists]] = used + exists.flatten().nonzero()[:, 0]
        positions.append(position.flatten())
        used += position.numel()
    return DocumentGroups(tuple(allowed), torch.cat(positions), slots)


def attend_by_document(
    q: Float[Tensor, "B H S K"],
    k: Float[Tensor, "B G S K"],
    v: Float[Tensor, "B G S K"],
    groups: DocumentGroups,
    attend: Kernel,
) -> Float[Tensor, "B H S K"]:
    """What `attend` gives group by group, every position back in its place."""
    batch, num_heads, length, head_dim = q.shape
    shapes = [(allowed.shape[0], allowed.shape[2]) for allowed in groups.allowed]
    sizes = [documents * places for documents, places in shapes]
    to_slots, from_slots = (cast(Callable[..., Tensor], move.apply) for move in (_ToSlots, _FromSlots))
    in_slots = (to_slots(x.transpose(1, 2).flatten(2).flatten(0, 1), groups) for x in (q, k, v))
    grouped = (torch.split(x, sizes) for x in in_slots)
    mixed = []
    for allowed, shape, *parts in zip(groups.allowed, shapes, *grouped, strict=True):
        queries, keys, values = (
            part.view(*shape, part.shape[1] // head_dim, head_dim).transpose(1, 2) for part in parts
        )
        mixed.append(attend(queries, keys, values, allowed).transpose(1, 2).flatten(2).flatten(0, 1))
    back = from_slots(torch.cat(mixed), groups)
    return back.view(batch, length, num_heads, head_dim).transpose(1, 2)


class _ToSlots(torch.autograd.Function):
    """Positions (B · S, D) → slots.

    A position that stands in several slots gets its gradient from the first alone: nothing comes of the others.
    PyTorch's own backward would add them up, row by row.
    """

    @staticmethod
    def forward(context: Any, positions: Tensor, groups: DocumentGroups) -> Tensor:
        context.groups = groups
        return positions.index_select(0, groups.positions)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.index_select(0, context.groups.slots), None


class _FromSlots(torch.autograd.Function):
    """Slots → positions (B · S, D)."""

    @staticmethod
    def forward(context: Any, slots: Tensor, groups: DocumentGroups) -> Tensor:
        context.groups = groups
        return slots.index_select(0, groups.slots)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        groups = context.groups
        whole = gradient.new_zeros(len(groups.positions), gradient.shape[1])
        return whole.index_copy_(0, groups.slots, gradient), None
