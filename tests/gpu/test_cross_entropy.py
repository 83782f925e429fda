"""The loss over a vocabulary, with the products that CUDA has for it, against PyTorch's of all logits in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mm1.train.cross_entropy import cross_entropy
from mm1.train.parallelize import autocast

COUNT, VOCABULARY, DIM, Z = 300, 1000, 64, 1e-3


def problem(device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, weight and targets, with logits of about unit size."""
    torch.manual_seed(0)
    hidden, weight = torch.randn(COUNT, DIM), torch.randn(VOCABULARY, DIM) * DIM**-0.5
    return hidden.to(device), weight.to(device), torch.randint(VOCABULARY, (COUNT,)).to(device)


def ours(hidden: Tensor, weight: Tensor, targets: Tensor) -> list[Tensor]:
    """In chunks, the last of them shorter: losses, squares of normalisers, gradients of hidden states and weight."""
    hidden, weight = (tensor.clone().requires_grad_() for tensor in (hidden, weight))
    total, losses, squares = cross_entropy(hidden, weight, targets, Z, rows=128)
    return [losses, squares, *torch.autograd.grad(0.7 * total, (hidden, weight))]


def exact(hidden: Tensor, weight: Tensor, targets: Tensor) -> list[Tensor]:
    hidden, weight = (tensor.double().requires_grad_() for tensor in (hidden, weight))
    logits = F.linear(hidden, weight)
    losses, squares = F.cross_entropy(logits, targets, reduction="none"), logits.logsumexp(1).square()
    total = losses.sum() + Z * squares.sum()
    return [losses.detach(), squares.detach(), *torch.autograd.grad(0.7 * total, (hidden, weight))]


def error(one: Tensor, right: Tensor) -> float:
    return float((one - right).norm() / right.norm())


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
def test_losses_and_gradients_are_those_of_all_logits(device: torch.device, precision: str, tolerance: float) -> None:
    arguments = problem(device)
    with autocast(precision, device):  # type: ignore[arg-type]
        found = ours(*arguments)
    for one, right in zip(found, exact(*arguments), strict=True):
        assert one.dtype == torch.float32
        assert error(one, right) < tolerance


def test_products_of_bfloat16_are_summed_and_kept_in_float32(cuda: torch.device) -> None:
    """Of factors that bfloat16 holds exactly: losses would be off by its rounding if logits had passed through it."""
    hidden, weight, targets = problem(cuda)
    rounded = (hidden.bfloat16().float(), weight.bfloat16().float(), targets)
    with autocast("bf16", cuda):
        losses, squares, *_ = ours(*rounded)
    right = exact(*rounded)
    assert error(losses, right[0]) < 1e-6
    assert error(squares, right[1]) < 1e-6


def test_a_batch_without_targets_has_a_gradient_of_zeros(device: torch.device) -> None:
    hidden, weight, targets = problem(device)
    with autocast("bf16", device):
        *_, of_hidden, of_weight = ours(hidden[:0], weight, targets[:0])
    assert of_hidden.shape == (0, DIM)
    assert not of_weight.any()
