"""The way of rows to the ranks of their experts, and back.

    exchange = ExpertExchange(group)            # 2 ranks, 4 experts: 0 and 1 live on rank 0, 2 and 3 on rank 1
    mixed = exchange(experts, rows, counts)     # in the place of experts(rows, counts)

    rank 0   rows of 0 0 1 2 3 3 ─┐ all-to-all   rank 0 gets 0 0 1, 0 1 1 → sorted 0 0 0 1 1 1 → its experts
    rank 1   rows of 0 1 1 2     ─┘              rank 1 gets 2 3 3, 2     → sorted 2 2 3 3     → its experts

and the results go back the same way. Gradients travel against the rows, so those of an expert are sums over all ranks
of the group: what remains is to sum them over the groups that hold copies of it. A rank without rows sends nothing and
takes part all the same. The host waits for the device once a call, because the numbers of rows size what is received.
Knows nothing of routers or of MM1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributed._functional_collectives import all_to_all_single_autograd

Experts: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(rows that stand sorted by expert, rows of each) → as many rows."""


class ExpertExchange:
    """Lets the ranks of a group compute each other's rows, each with the experts that live there."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        """`group` holds all experts once: the first of its n ranks the first n-th of them, and so on."""
        self._group = group
        self._crossed = 0

    def __call__(self, experts: Experts, rows: Float[Tensor, "R D"], counts: Int[Tensor, " E"]) -> Float[Tensor, "R D"]:
        """What everyone's experts make of this rank's rows; a collective of the group.

        Args:
            experts: those that live here, E / n of them.
            rows: first those of expert 0, then those of expert 1, …; rows after the last expert's may follow, and 0
                comes out for those. They travel in the dtype of autocast, where there is one.
            counts: rows of each expert, of all E.
        """
        device, ranks = rows.device.type, self._group.size()
        if torch.is_autocast_enabled(device):
            rows = rows.to(torch.get_autocast_dtype(device))
        theirs = torch.empty_like(counts)
        dist.all_to_all_single(theirs, counts, group=self._group)
        theirs = theirs.view(ranks, -1)
        sends, receives = torch.stack([counts.view(ranks, -1).sum(1), theirs.sum(1)]).tolist()
        self._count(sends, receives, rows)
        received = all_to_all_single_autograd(rows[: sum(sends)], receives, sends, self._group)
        order = _by_expert(theirs, sum(receives))
        mixed = experts(_take(received, order), theirs.sum(0))
        returned = all_to_all_single_autograd(_take(mixed, _inverse(order)), sends, receives, self._group)
        return F.pad(returned, (0, 0, 0, len(rows) - len(returned)))

    def take_bytes(self) -> int:
        """Bytes of rows and results that left this rank for others in forward since the last call."""
        crossed, self._crossed = self._crossed, 0
        return crossed

    def _count(self, sends: list[int], receives: list[int], rows: Tensor) -> None:
        own = self._group.rank()
        elsewhere = sum(sends) - sends[own] + sum(receives) - receives[own]
        self._crossed += elsewhere * rows.shape[1] * rows.element_size()


def _by_expert(theirs: Int[Tensor, "n e"], total: int) -> Int[Tensor, " total"]:
    """The order that sorts rows by expert, which came sorted by sender and then by expert."""
    ranks, experts = theirs.shape
    expert = torch.arange(experts, device=theirs.device).repeat(ranks)
    return expert.repeat_interleave(theirs.flatten(), output_size=total).argsort(stable=True)


def _inverse(order: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))


def _take(rows: Float[Tensor, "R D"], order: Int[Tensor, " R"]) -> Float[Tensor, "R D"]:
    """An embedding look-up, because its backward is deterministic."""
    return F.embedding(order, rows)
