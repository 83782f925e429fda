from __future__ import annotations

import pytest
import torch

from mm1.train.muon import Muon, orthogonalise

SHAPES = ((8, 20), (20, 8), (16, 16))


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


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_singular_values_come_near_1_and_singular_vectors_stay(shape: tuple[int, int], dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    matrix = torch.randn(shape)
    result = orthogonalise(matrix, dtype).float()
    assert torch.linalg.svdvals(result).max() < 1.3
    assert torch.linalg.svdvals(result).min() > 0.4
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    inner = u.T @ result @ v.T
    assert (inner - inner.diag().diag()).abs().max() < 0.1
