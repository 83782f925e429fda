"""One matrix for each expert, and the way of tokens to their experts and back.

    tokens (T, D)    0  1  2          each token chose k experts; a choice is number token · k + rank
    choices         AB CA BA
    by expert       A: 0 1 2   B: 0 2   C: 1   then what is not kept        rows (T·k, D), sorted
    GroupedLinear   A's rows times A's matrix, B's times B's, …             `grouped`: one kernel; `loop`: the oracle

How many rows an expert gets is known on the device only; the grouped kernel takes it from there, so that the host need
not wait. Knows nothing of why a token chose an expert.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from mm1.config import UserError

Backend: TypeAlias = Literal["auto", "grouped", "loop"]

ALIGNMENT = 16
"""Bytes of which a matrix row must be a multiple for the grouped kernel."""


class GroupedLinear(nn.Module):
    """A bias-free linear layer a group, over rows that stand sorted by group."""

    def __init__(self, num_groups: int, input_dim: int, output_dim: int, backend: Backend = "auto") -> None:
        super().__init__()
        self.backend = backend
        self.weight = nn.Parameter(torch.empty(num_groups, input_dim, output_dim))
        nn.init.normal_(self.weight, std=input_dim**-0.5)

    def forward(self, rows: Float[Tensor, "R I"], counts: Int[Tensor, " E"]) -> Float[Tensor, "R O"]:
        """Rows times the matrix of their group, in the dtype of autocast or else of the weights.

        Args:
            rows: first those of group 0, then those of group 1, …; rows after the last group's may follow, and what
                comes out for those means nothing.
            counts: rows of each group.

        Raises:
            UserError: backend="grouped" where that kernel does not work.
        """
        return grouped_product(rows, self.weight, counts, self.backend)


def grouped_product(
    rows: Float[Tensor, "R I"], weight: Float[Tensor, "E I O"], counts: Int[Tensor, " E"], backend: Backend
) -> Float[Tensor, "R O"]:
    """What `GroupedLinear` computes, for a weight from anywhere."""
    dtype = compute_dtype(weight)
    rows, weight = rows.to(dtype), weight.to(dtype)
    product: Tensor = _BACKENDS[_resolve(backend, weight)](rows, weight, counts)
    return product


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Where each choice of each token goes; built once a layer and used there and back."""

    order: Int[Tensor, " R"]
    """Choice numbers sorted by expert, in token order within one; those not kept come last."""
    place: Int[Tensor, " R"]
    """The inverse: where each choice stands in `order`."""
    counts: Int[Tensor, " E"]
    """Kept choices of each expert."""

    @staticmethod
    def from_choices(experts: Int[Tensor, "T k"], kept: Bool[Tensor, "T k"], num_experts: int) -> Dispatch:
        """Sorts the choices of T tokens."""
        expert = torch.where(kept, experts, num_experts).flatten()
        order = expert.argsort(stable=True)
        place = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
        counts = torch.zeros(num_experts + 1, dtype=torch.int64, device=order.device)
        counts.scatter_add_(0, expert, torch.ones_like(expert))
        return Dispatch(order=order, place=place, counts=counts[:-1])

    @property
    def _filled(self) -> Tensor:
        """Which rows have an expert, (R, 1)."""
        return (torch.arange(len(self.order), device=self.order.device) < self.counts.sum())[:, None]

    def send(self, tokens: Float[Tensor, "T D"]) -> Float[Tensor, "R D"]:
        """Each token once for each of its choices, sorted by expert; zeros for choices not kept."""
        per_token = len(self.order) // max(1, len(tokens))
        # `where`, and not a product with 0: behind the last group the grouped kernel leaves memory as it was, which
        # may be NaN, in the gradient too. An embedding look-up, because its backward is deterministic.
        return torch.where(self._filled, F.embedding(self.order // max(1, per_token), tokens), 0.0)

    def combine(self, rows: Float[Tensor, "R D"], gates: Float[Tensor, "T k"]) -> Float[Tensor, "T D"]:
        """The sum of each token's kept choices times their gates, in float32; in the dtype of `rows`."""
        by_choice = F.embedding(self.place, torch.where(self._filled, rows, 0.0)).view(*gates.shape, rows.shape[1])
        return (by_choice.float() * gates[..., None]).sum(1).to(rows.dtype)


def _grouped(rows: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    product: Tensor = _kernel()(rows.contiguous(), weight.contiguous(), offs=counts.cumsum(0, dtype=torch.int32))
    if product.requires_grad:  # the kernel's backward refuses other layouts, such as that of a sum's gradient
        product.register_hook(Tensor.contiguous)  # type: ignore[no-untyped-call]
    return product


def _loop(rows: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Waits for the device, once a call."""
    sizes = counts.tolist()
    parts = torch.split(rows[: sum(sizes)], sizes)
    # Unbound, not indexed: the backward of one is a single stack, of the other a whole zero tensor an expert.
    products = [part @ matrix for part, matrix in zip(parts, weight.unbind(0), strict=True)]
    return torch.cat([*products, rows.new_zeros(len(rows) - sum(sizes), weight.shape[2])])


_BACKENDS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {"grouped": _grouped, "loop": _loop}


def _kernel() -> Callable[..., Any]:
    """The grouped product of torch, which older versions have under a private name only."""
    return getattr(F, "grouped_mm", None) or torch._grouped_mm


def _resolve(backend: Backend, weight: Tensor) -> Literal["grouped", "loop"]:
    if backend == "loop":
        return "loop"
    if torch.compiler.is_compiling() and weight.dtype != torch.bfloat16:
        return "loop"  # the kernel runs in other dtypes too, but cannot be traced in them
    aligned = all(dim * weight.element_size() % ALIGNMENT == 0 for dim in weight.shape[1:])
    if aligned and kernel_works(weight.device.type, weight.dtype):
        return "grouped"
    if backend == "grouped":
        why = "here" if aligned else f"for matrices of {weight.shape[1]} x {weight.shape[2]}"
        raise UserError(
            f"moe.backend=grouped does not work {why} in {weight.dtype} on {weight.device.type}: use auto or loop"
        )
    return "loop"


_WORKS: dict[tuple[str, torch.dtype], bool] = {}
"""What has been tried; a plain table, which compiled code may look into."""


def kernel_works(device: str, dtype: torch.dtype) -> bool:
    """Whether the grouped kernel works there; tried once in a process, for compiled code before it is compiled."""
    if (device, dtype) not in _WORKS:
        _WORKS[device, dtype] = _try_kernel(device, dtype)
    return _WORKS[device, dtype]


def _try_kernel(device: str, dtype: torch.dtype) -> bool:
    """A small product, forward and backward."""
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False):
            rows = torch.ones(2, ALIGNMENT, device=device, dtype=dtype, requires_grad=True)
            weight = torch.ones(2, ALIGNMENT, ALIGNMENT, device=device, dtype=dtype, requires_grad=True)
            product = _grouped(rows, weight, torch.tensor([2, 0], device=device))
            torch.autograd.grad(product, [rows, weight], torch.ones_like(product))
    except (RuntimeError, NotImplementedError, AttributeError):
        return False
    return True


def compute_dtype(tensor: Tensor) -> torch.dtype:
    """That of products of `tensor`: autocast's where it is on, or else its own."""
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype
