from __future__ import annotations

import pytest
import torch

from mm1.train.muon import SMALL, Muon, orthogonalise, stacks

SHAPES = ((8, 20), (20, 8), (16, 16), (8, 20))


def pair() -> tuple[list[torch.nn.Parameter], torch.optim.Muon, list[torch.nn.Parameter], Muon]:
    """The same matrices under torch's Muon and under ours."""
    torch.manual_seed(0)
    theirs = [torch.nn.Parameter(torch.randn(shape)) for shape in SHAPES]
    ours = [torch.nn.Parameter(parameter.detach().clone()) for parameter in theirs]
    reference = torch.optim.Muon(theirs, lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw")
    muon = Muon(ours, momentum=0.9)
    for group in muon.param_groups:
        group.update(lr=0.02, weight_decay=0.1)
    for parameter in ours:
        muon.state[parameter] = {"momentum_buffer": torch.zeros_like(parameter)}
    return theirs, reference, ours, muon


def test_equals_torch_to_the_bit() -> None:
    theirs, reference, ours, muon = pair()
    for _ in range(4):
        for a, b in zip(theirs, ours, strict=True):
            a.grad = torch.randn(a.shape)
            b.grad = a.grad.clone()
        reference.step()
        muon.found_inf = torch.zeros(())
        muon.step()
    for a, b in zip(theirs, ours, strict=True):
        assert torch.equal(a, b)


def test_a_skipped_step_changes_neither_weights_nor_momentum() -> None:
    _, _, ours, muon = pair()
    for parameter in ours:
        parameter.grad = torch.randn(parameter.shape)
    muon.step()
    before = [(p.detach().clone(), muon.state[p]["momentum_buffer"].clone()) for p in ours]
    for parameter in ours:
        parameter.grad = torch.full(parameter.shape, float("nan"))
    muon.found_inf = torch.ones(())
    muon.step()
    for parameter, (weight, momentum) in zip(ours, before, strict=True):
        assert torch.equal(parameter, weight)
        assert torch.equal(muon.state[parameter]["momentum_buffer"], momentum)


@pytest.mark.parametrize("shape", sorted(set(SHAPES)))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_singular_values_come_near_1_and_singular_vectors_stay(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    result = orthogonalise([matrix], dtype)[0].float()
    assert torch.linalg.svdvals(result).max() < 1.3
    assert torch.linalg.svdvals(result).min() > 0.4
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ result @ v.T
    assert (inner - inner.diag().diag()).abs().max() < 0.1


@pytest.mark.parametrize("shape", [(8, 20), (16, 16), (65, 33), (128, 600)])
def test_a_stack_in_bfloat16_has_the_bits_of_each_alone(shape: tuple[int, int]) -> None:
    torch.manual_seed(2)
    matrices = [torch.randn(shape) * scale for scale in (1e-9, 1.0, 100.0)] + [torch.randn(shape).T, torch.zeros(shape)]
    alone = [orthogonalise([matrix], torch.bfloat16)[0] for matrix in matrices]
    for ours, theirs in zip(orthogonalise(matrices, torch.bfloat16), alone, strict=True):
        assert torch.equal(ours, theirs)


def test_small_matrices_of_one_shape_are_stacked_and_large_ones_stay_alone() -> None:
    def empty(*shape: int) -> torch.Tensor:
        return torch.empty(shape, device="meta")

    small, tall, other = empty(8, 20), empty(20, 8), empty(8, 8)
    large = [empty(SMALL, 2), empty(SMALL, 2)]
    found = stacks([small, large[0], other, tall, large[1]])
    assert [[id(matrix) for matrix in stack] for stack in found] == [
        [id(small), id(tall)],
        [id(large[0])],
        [id(other)],
        [id(large[1])],
    ]
