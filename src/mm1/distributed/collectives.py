"""The few things that ranks say to each other. In a run of one process each of them is the identity.

    sum_(count)                                   # in place: the sum over all ranks
    everyone, first = gather_with_gradients(mine) # rows of all ranks, in rank order; mine start at row `first`

Every function is a collective: all ranks call it, in the same order. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function

T = TypeVar("T")


def num_ranks() -> int:
    """How many processes take part."""
    return dist.get_world_size() if dist.is_initialized() else 1


def sum_(tensor: Tensor) -> Tensor:
    """Replaces `tensor`, of one shape everywhere, by its sum over all ranks; returns it."""
    if num_ranks() > 1:
        dist.all_reduce(tensor)
    return tensor


def wait_for_all() -> None:
    """Returns when every rank has come here."""
    if num_ranks() > 1:
        dist.barrier()


def talks_beside() -> dist.ProcessGroup | None:
    """A group of all ranks on the CPU for a thread beside training, whose collectives do not mix with training's."""
    return dist.new_group(backend="gloo") if num_ranks() > 1 else None


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether `flag` is true on any rank. Makes the host wait for the device."""
    if num_ranks() == 1:
        return flag
    return bool(sum_(torch.tensor(float(flag), device=device)).item())


def from_first_rank(value: T) -> T:
    """The `value` that rank 0 holds, on every rank; a picklable object, for rare and small things."""
    if num_ranks() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: T, group: dist.ProcessGroup | None = None) -> list[T]:
    """The picklable `value` of every rank, in rank order; for rare and small things.

    `group` is what `talks_beside` made, on a thread beside training.
    """
    if num_ranks() == 1:
        return [value]
    values: list[Any] = [None] * num_ranks()
    dist.all_gather_object(values, value, group=group)
    return values


def gather_with_gradients(rows: Float[Tensor, "n D"]) -> tuple[Float[Tensor, "all D"], int]:
    """The rows of all ranks in rank order, and where this rank's begin; ranks may hold different numbers, or none.

    The gradient that reaches a rank's rows is the sum of what every rank sends to them, so a loss summed over ranks
    has the gradient that one process with all rows would see. With more than one rank the host waits for the counts,
    because they size the result.
    """
    if num_ranks() == 1:
        return rows, 0
    counts = torch.zeros(num_ranks(), dtype=torch.int64, device=rows.device)
    counts[dist.get_rank()] = rows.shape[0]
    sizes: list[int] = sum_(counts).tolist()
    gathered: Tensor = _Gather.apply(rows, sizes)  # type: ignore[no-untyped-call]
    return gathered, sum(sizes[: dist.get_rank()])


class _Gather(Function):
    """All rows forward (padded on the wire to the largest count); the summed gradient of this rank's rows backward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), rows.shape[1])
        padded[: rows.shape[0]] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        total = sum_(gradient.contiguous().clone())
        return torch.split(total, ctx.sizes)[dist.get_rank()], None
