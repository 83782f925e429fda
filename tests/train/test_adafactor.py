from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from transformers.optimization import Adafactor as Peer

from mm1.train.adafactor import Adafactor

SHAPES = ((9, 5), (3, 4, 6), (7,), ())


def parameters(seed: int = 0, scale: float = 1.0) -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(scale * torch.randn(shape, generator=generator)) for shape in SHAPES]


def adafactor(params: list[torch.nn.Parameter], lr: float, weight_decay: float = 0.0, **options: Any) -> Adafactor:
    return Adafactor([{"params": params, "lr": lr, "weight_decay": weight_decay}], factor_from=1, **options)


@pytest.mark.parametrize("scale_by_size", [False, True])
def test_equals_transformers(scale_by_size: bool) -> None:
    """Which adds ε₁ before it takes means, and decays weights before it moves them; up to rounding no difference."""
    ours, theirs = parameters(), parameters()
    optimizer = adafactor(ours, 0.02, 0.1, scale_by_size=scale_by_size)
    options = {"scale_parameter": scale_by_size, "relative_step": False, "warmup_init": False}
    peer = Peer(theirs, lr=0.02, weight_decay=0.0, **options)
    generator = torch.Generator().manual_seed(1)
    for step in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator) * (0.1 + 3 * (step == 3))
            b.grad = a.grad.clone()
        before = [parameter.detach().clone() for parameter in theirs]
        optimizer.step()
        peer.step()
        for parameter, old in zip(theirs, before, strict=True):
            parameter.data -= 0.02 * 0.1 * old
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def by_hand(weight: NDArray[np.float64], gradients: list[NDArray[np.float64]], lr: float) -> NDArray[np.float64]:
    """Algorithm 4 of the paper for one matrix, entry by entry."""
    rows, columns = weight.shape
    r, c = [0.0] * rows, [0.0] * columns
    for t, gradient in enumerate(gradients, start=1):
        decay = 1 - t**-0.8
        for i in range(rows):
            r[i] = decay * r[i] + (1 - decay) * sum(gradient[i, j] ** 2 + 1e-30 for j in range(columns))
        for j in range(columns):
            c[j] = decay * c[j] + (1 - decay) * sum(gradient[i, j] ** 2 + 1e-30 for i in range(rows))
        update = np.empty_like(weight)
        for i, j in itertools.product(range(rows), range(columns)):
            update[i, j] = gradient[i, j] / math.sqrt(r[i] * c[j] / sum(r))
        weight = weight - lr * update / max(1.0, math.sqrt(np.mean(update**2)))
    return weight


def test_equals_the_papers_algorithm_and_a_stack_is_so_many_matrices() -> None:
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4, 6)), [rng.normal(size=(3, 4, 6)) for _ in range(4)]
    gradients[2] *= 0.01
    single, stack = torch.nn.Parameter(torch.tensor(start[0])), torch.nn.Parameter(torch.tensor(start))
    wide = adafactor([stack], 0.05, clip=1e9)
    alone = [torch.nn.Parameter(torch.tensor(matrix)) for matrix in start]
    optimizer, apart = adafactor([single], 0.05), adafactor(alone, 0.05, clip=1e9)
    for gradient in gradients:
        single.grad, stack.grad = torch.tensor(gradient[0]), torch.tensor(gradient)
        for parameter, matrix in zip(alone, gradient, strict=True):
            parameter.grad = torch.tensor(matrix)
        for each in (optimizer, wide, apart):
            each.step()
    expected = by_hand(start[0], [gradient[0] for gradient in gradients], 0.05)
    np.testing.assert_allclose(single.detach().numpy(), expected, rtol=2e-6)
    torch.testing.assert_close(stack.detach(), torch.stack([p.detach() for p in alone]), rtol=0, atol=0)


def test_short_dimensions_keep_whole_moments_and_long_ones_two_vectors() -> None:
    short, long, experts = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((127, 500), (128, 200), (2, 128, 130)))
    optimizer = Adafactor([short, long, experts])
    shapes = [{name: tuple(t.shape) for name, t in optimizer.state[p].items()} for p in (short, long, experts)]
    assert shapes == [
        {"step": (), "moment": (127, 500)},
        {"step": (), "row": (128,), "column": (200,)},
        {"step": (), "row": (2, 128), "column": (2, 130)},
    ]


@pytest.mark.parametrize("first", [True, False])
def test_a_skipped_step_changes_neither_weights_nor_moments_nor_the_count(first: bool) -> None:
    ours, never = parameters(), parameters()
    optimizer, other = adafactor(ours, 0.1, 0.1), adafactor(never, 0.1, 0.1)
    for skipped in (first, not first):
        for a, b in zip(ours, never, strict=True):
            a.grad = torch.full(a.shape, float("nan")) if skipped else torch.ones(a.shape) * a.detach()
            b.grad = torch.ones(b.shape) * b.detach()
        optimizer.found_inf = torch.tensor(float(skipped))
        optimizer.step()
        if not skipped:
            other.step()
    for a, b in zip(ours, never, strict=True):
        assert torch.equal(a, b)
        assert optimizer.state[a].keys() == other.state[b].keys()
        assert all(torch.equal(value, other.state[b][name]) for name, value in optimizer.state[a].items())


def test_a_gradient_of_zeros_moves_nothing() -> None:
    ours = parameters()
    before = [parameter.detach().clone() for parameter in ours]
    optimizer = adafactor(ours, 0.1)
    for _ in range(2):
        for parameter in ours:
            parameter.grad = torch.zeros(parameter.shape)
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(ours, before, strict=True))


def test_an_update_beyond_the_clip_has_the_clip_as_its_rms() -> None:
    matrix = torch.nn.Parameter(torch.zeros(20, 30))
    optimizer = adafactor([matrix], 1.0, clip=0.5)
    matrix.grad = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    optimizer.step()
    assert matrix.detach().square().mean().sqrt().item() == pytest.approx(0.5, rel=1e-5)
