"""Against PyTorch's cross-entropy of all logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mm1.train.cross_entropy import CHUNK_BYTES, cross_entropy, rows_at_once


def problem(
    count: int, vocabulary: int, dim: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, weight and targets, with logits of about unit size."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(count, dim, generator=generator, dtype=dtype)
    weight = torch.randn(vocabulary, dim, generator=generator, dtype=dtype) * dim**-0.5
    return hidden, weight, torch.randint(vocabulary, (count,), generator=generator)


def plain(hidden: Tensor, weight: Tensor, targets: Tensor, z: float) -> tuple[Tensor, Tensor, Tensor]:
    logits = F.linear(hidden, weight)
    losses, squares = F.cross_entropy(logits, targets, reduction="none"), logits.logsumexp(1).square()
    return losses.sum() + z * squares.sum(), losses, squares


def with_gradients(function: object, hidden: Tensor, weight: Tensor, *rest: object) -> tuple[Tensor, ...]:
    hidden, weight = (tensor.clone().requires_grad_() for tensor in (hidden, weight))
    total, losses, squares = function(hidden, weight, *rest)  # type: ignore[operator]
    (0.7 * total).backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return total.detach(), losses.detach(), squares.detach(), hidden.grad, weight.grad


@settings(max_examples=40, deadline=None)
@given(
    count=st.integers(0, 9),
    vocabulary=st.integers(2, 17),
    rows=st.none() | st.integers(1, 10),
    z=st.sampled_from([0.0, 0.03]),
    seed=st.integers(0, 99),
)
def test_total_losses_and_gradients_are_those_of_all_logits(
    count: int, vocabulary: int, rows: int | None, z: float, seed: int
) -> None:
    arguments = problem(count, vocabulary, 6, seed=seed)
    expected = with_gradients(plain, *arguments, z)
    found = with_gradients(cross_entropy, *arguments, z, rows)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_in_float32_they_are_as_exact_as_those_of_all_logits() -> None:
    """Both against float64; logits of up to about 60, as untrained z-losses and confident models have."""
    hidden, weight, targets = problem(300, 500, 32)
    hidden = hidden * 15
    exact = with_gradients(plain, hidden, weight, targets, 1e-3)
    narrow = (hidden.float(), weight.float(), targets, 1e-3)
    ours, theirs = with_gradients(cross_entropy, *narrow, 64), with_gradients(plain, *narrow)
    for one, other, right in zip(ours, theirs, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - right).norm() <= 2 * (other - right).norm() + 1e-7 * right.norm()


def test_under_autocast_products_are_in_bfloat16_and_all_else_in_float32() -> None:
    hidden, weight, targets = problem(200, 300, 64, torch.float32)
    exact = with_gradients(plain, hidden.double(), weight.double(), targets, 1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        found = with_gradients(cross_entropy, hidden, weight, targets, 1e-3, 7)
    for one, right in zip(found, exact, strict=True):
        assert one.dtype == torch.float32
        assert (one - right).norm() <= 0.01 * right.norm()
    # Summed over 29 chunks in bfloat16, the gradient of the weight would be off by ten times as much.
    narrow = with_gradients(plain, hidden.bfloat16(), weight.bfloat16(), targets, 1e-3)
    assert (found[4] - exact[4]).norm() <= (narrow[4].double() - exact[4]).norm()


class Largest(TorchDispatchMode):
    """The most elements that any tensor has that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        self.elements = max(
            [self.elements, *(leaf.numel() for leaf in tree_leaves(result) if isinstance(leaf, Tensor))]
        )
        return result


def test_no_more_logits_are_there_than_a_chunk_of_them() -> None:
    hidden, weight, targets = problem(96, 256, 16, torch.float32)
    with Largest() as seen:
        with_gradients(cross_entropy, hidden, weight, targets, 0.1, 8)
    assert seen.elements == 256 * 16  # the weight, and its gradient
    with Largest() as seen:
        with_gradients(plain, hidden, weight, targets, 0.1)
    assert seen.elements == 96 * 256


def test_chunks_grow_with_the_weight_and_small_vocabularies_need_one() -> None:
    assert rows_at_once(1024, 128) * 1024 * 4 == CHUNK_BYTES
    assert rows_at_once(32_000, 2560) == 1280
    assert rows_at_once(128_000, 4096) == 2048
    assert rows_at_once(10**9, 1) == 1


def test_what_does_not_move_costs_nothing() -> None:
    """A frozen output matrix, frozen hidden states, and none of both."""
    hidden, weight, targets = problem(5, 7, 4)
    hidden.requires_grad_()
    total, _, _ = cross_entropy(hidden, weight, targets)
    total.backward()
    expected = torch.autograd.grad(plain(hidden, weight, targets, 0.0)[0], hidden)[0]
    torch.testing.assert_close(hidden.grad, expected)
    weight.requires_grad_()
    cross_entropy(hidden.detach(), weight, targets)[0].backward()
    expected = torch.autograd.grad(plain(hidden, weight, targets, 0.0)[0], weight)[0]
    torch.testing.assert_close(weight.grad, expected)
    assert not cross_entropy(hidden.detach(), weight.detach(), targets)[0].requires_grad
    with torch.no_grad():
        torch.testing.assert_close(cross_entropy(hidden, weight, targets)[0], total.detach())


def test_a_second_backward_is_refused_rather_than_wrong() -> None:
    hidden, weight, targets = problem(5, 7, 4)
    hidden.requires_grad_()
    total, _, _ = cross_entropy(hidden, weight, targets)
    (total * 2).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()
