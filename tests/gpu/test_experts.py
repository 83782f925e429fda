"""The grouped product and the loop over experts on the device: the same numbers, and the kernel is the one taken."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mm1.models.experts import _resolve
from mm1.models.moe import MoE, MoEConfig
from mm1.train.parallelize import autocast


def outputs(device: torch.device, backend: str, reached: int) -> list[Tensor]:
    """A layer in bfloat16 whose tokens reach the first experts only, a third of the positions being padding."""
    torch.manual_seed(0)
    layer = MoE(MoEConfig(num_experts=8, backend=backend), 64, 96, "swiglu")  # type: ignore[arg-type]
    with torch.no_grad():
        layer.router.weight[reached:] = -10.0
        layer.router.weight[:reached].abs_().mul_(10)
    hidden = torch.rand(4, 51, 64)
    real = torch.arange(204).view(4, 51) % 3 != 2
    layer, hidden, real = layer.to(device), hidden.to(device).requires_grad_(), real.to(device)
    with autocast("bf16", device):
        mixed, routing = layer(hidden, real)
    (mixed.float().square().sum() + routing.load_balance).backward()
    assert not routing.load[reached:].any()
    return [mixed, hidden.grad, *(parameter.grad for parameter in layer.parameters())]  # type: ignore[list-item]


@pytest.mark.parametrize("reached", [2, 5, 8])
def test_grouped_and_loop_agree_forward_and_backward(device: torch.device, reached: int) -> None:
    for grouped, loop in zip(outputs(device, "grouped", reached), outputs(device, "loop", reached), strict=True):
        assert grouped.isfinite().all()
        torch.testing.assert_close(grouped, loop, rtol=0.02, atol=0.02 * float(loop.detach().abs().max()))


def test_the_kernel_is_what_auto_takes_for_bfloat16(device: torch.device) -> None:
    weight = nn.Parameter(torch.empty(2, 64, 96, device=device, dtype=torch.bfloat16))
    assert _resolve("auto", weight) == "grouped"
