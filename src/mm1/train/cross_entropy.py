"""Cross-entropy over a vocabulary, without the matrix of all logits: made, used and dropped a few positions at a time.

    hidden (K, D) ─┐ chunk by chunk    ┌ losses (c) ┐
                   ├→ logits (c, V) ───┤            ├→ total, and the gradients of hidden and weight
    weight (V, D) ─┘                   └ gradients ─┘

    total, losses, squares = cross_entropy(hidden, model.output_weight, targets, z=1e-4)
    total.backward()

Logits are worth keeping for one thing, their gradient, and that is known as soon as they are. So forward makes it, and
what backward finds are the gradients of hidden states and weight, which have to be there then anyway: no product is
made twice. (Liger's fused linear cross-entropy, arXiv 2410.10989, goes the same way.) Products are made in autocast's
dtype and summed in float32; softmax, losses and sums over chunks are float32 too, or float64 for weights that are.
Shape letters: K targets, V vocabulary, D dim, c positions of a chunk. Knows nothing of models.
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from mm1.models.experts import compute_dtype

CHUNK_BYTES = 1 << 26
"""A chunk has so many bytes of logits in float32; or half as many as the weight's gradient, if that is more."""


def cross_entropy(
    hidden: Float[Tensor, "K D"],
    weight: Float[Tensor, "V D"],
    targets: Int[Tensor, " K"],
    z: float = 0.0,
    rows: int | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, " K"], Float[Tensor, " K"]]:
    """-log softmax(hidden · weightᵀ) at the targets: what is minimised, then of each target its loss and its z.

    Args:
        hidden: of the positions that have a target; there may be none.
        weight: of the vocabulary.
        targets: token ids.
        z: weight of logsumexp(logits)² in the total, the output z-loss of PaLM (arXiv 2204.02311).
        rows: c; None is what suits the sizes.

    Returns:
        total: sum over targets of loss + z · logsumexp². It alone carries a gradient, and backward may be called once.
        losses: of each target, without z.
        squares: logsumexp² of each target.
    """
    device = "cpu" if hidden.is_meta else hidden.device.type
    dtype = compute_dtype(weight)
    with torch.autocast(device, enabled=False):
        total, losses, squares = _CrossEntropy.apply(  # type: ignore[no-untyped-call]
            hidden, weight, targets, z, dtype, rows or rows_at_once(*weight.shape)
        )
    return total, losses, squares


def rows_at_once(vocabulary: int, dim: int) -> int:
    """Positions of a chunk.

    Each reads and writes the weight's whole gradient, which makes small chunks slow where the vocabulary is large: with
    D / 2 positions a device computes for each of those bytes as much as an H100 can meanwhile.
    """
    return max(1, dim // 2, CHUNK_BYTES // (4 * vocabulary))


class _CrossEntropy(Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, z: float, dtype: torch.dtype, rows: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        exact = torch.promote_types(weight.dtype, torch.float32)
        matrix, count = weight.to(dtype), len(hidden)
        losses, squares = (hidden.new_empty(count, dtype=exact) for _ in range(2))
        of_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        of_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        for start in range(0, count, rows):
            chunk = slice(start, start + rows)
            states, wanted = hidden[chunk].to(dtype), targets[chunk, None]
            logits = _product(states, matrix.T)
            at_target = logits.gather(1, wanted).to(exact)
            logs = torch.log_softmax(logits, 1, dtype=exact)
            del logits
            loss = -logs.gather(1, wanted)
            normaliser = at_target + loss  # logsumexp
            losses[chunk], squares[chunk] = loss[:, 0], normaliser[:, 0].square()
            if of_hidden is None and of_weight is None:
                continue
            slope = logs.exp_()
            if z:
                slope.mul_(1 + 2 * z * normaliser)
            slope.scatter_(1, wanted, slope.gather(1, wanted) - 1)
            narrow = slope.to(dtype)
            del logs, slope
            if of_hidden is not None:
                of_hidden[chunk] = _product(narrow, matrix)
            if of_weight is not None:
                _add_product(of_weight, narrow.T, states)
        ctx.save_for_backward(of_hidden, of_weight)
        ctx.mark_non_differentiable(losses, squares)
        ctx.set_materialize_grads(False)
        total = losses.sum()
        return total + z * squares.sum() if z else total, losses, squares

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        # In place, because a second gradient of the vocabulary's weight would be as large as what chunks save.
        of_hidden, of_weight = (None if one is None else one.mul_(slope) for one in ctx.saved_tensors)
        return of_hidden, of_weight, None, None, None, None


def _product(left: Tensor, right: Tensor) -> Tensor:
    """The matrix product, in float32 where the device gives it to factors in bfloat16."""
    if left.is_cuda and left.dtype == torch.bfloat16:
        return torch.mm(left, right, out_dtype=torch.float32)
    return torch.mm(left, right)


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Adds left · right, in the dtype of `total`; products in another are made `CHUNK_BYTES` at a time."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
        return
    rows = max(1, CHUNK_BYTES // (4 * total.shape[1]))
    for part, factor in zip(torch.split(total, rows), torch.split(left, rows), strict=True):
        part.add_(_product(factor, right))
