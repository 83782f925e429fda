from __future__ import annotations

import gc

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mm1.train.planning.trace import Recorder

ROWS, DIM, FLOAT = 10, 32, 4


def trace(module: nn.Module, bf16: bool = False):
    with FakeTensorMode(allow_non_fake_inputs=True):
        module = module.to_empty(device="cpu")
        x = torch.empty(ROWS, DIM, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            recorder = Recorder()
            cost = recorder.run(lambda: [module(x)], [x, *module.parameters()])
    gc.collect()
    return cost, recorder


def test_a_chain_keeps_what_its_backward_needs_and_no_more() -> None:
    chain = nn.Sequential(nn.Linear(DIM, 3 * DIM, bias=False), nn.GELU(), nn.Linear(3 * DIM, DIM, bias=False))
    cost, recorder = trace(chain.to("meta"))
    # what goes into GELU, what comes out of it, the result; the input and the weights were there
    assert cost.kept == FLOAT * ROWS * (3 * DIM + 3 * DIM + DIM)
    assert cost.result == FLOAT * ROWS * DIM
    assert cost.forward_peak == cost.kept
    assert recorder.live == 0, "what is freed is forgotten"


def test_inplace_and_dropped_intermediates_are_not_kept_but_seen_in_the_peak() -> None:
    class Wasteful(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            wide = torch.cat([x.detach()] * 7, dim=1).add_(1.0)
            return x + wide[:, :DIM].sum()

    cost, _ = trace(Wasteful())
    assert cost.kept == cost.result
    assert cost.forward_peak >= 7 * FLOAT * ROWS * DIM


def test_backward_holds_gradients_of_weights_and_input() -> None:
    cost, _ = trace(nn.Linear(DIM, DIM, bias=False).to("meta"))
    assert cost.backward_peak == cost.kept + FLOAT * (DIM * DIM + ROWS * DIM)


def test_products_are_counted_forward_and_backward() -> None:
    cost, _ = trace(nn.Linear(DIM, DIM, bias=False).to("meta"))
    assert cost.flops("product", "forward") == 2 * ROWS * DIM * DIM
    assert cost.flops("product", "backward") == 2 * cost.flops("product", "forward")
    assert cost.products == FLOAT * ROWS * DIM


def test_autocast_keeps_a_weights_copy_in_bfloat16() -> None:
    cost, _ = trace(nn.Linear(DIM, DIM, bias=False).to("meta"), bf16=True)
    assert cost.kept == 2 * (DIM * DIM + ROWS * DIM + ROWS * DIM)


def test_matrices_of_all_pairs_are_left_out_where_a_fused_kernel_is_planned() -> None:
    def attend(q: torch.Tensor) -> list[torch.Tensor]:
        return [torch.softmax(q @ q.transpose(-2, -1), -1) @ q]

    costs = []
    for pairs in (frozenset(), frozenset({2 * 37 * 37})):
        with FakeTensorMode():
            q = torch.empty(2, 37, 8, requires_grad=True)
            costs.append(Recorder(pairs).run(lambda q=q: attend(q), [q]))
    assert costs[0].kept - costs[1].kept == FLOAT * 2 * 37 * 37
    assert costs[1].flops("attention", "forward") == costs[0].flops("product", "forward") == 2 * 2 * 37 * 37 * 8 * 2
    assert costs[1].products == costs[1].result
