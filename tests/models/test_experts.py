"""Both ways of multiplying rows with their expert's matrix, and the way of tokens to their experts and back."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mm1.config import UserError
from mm1.models import experts
from mm1.models.experts import Dispatch, GroupedLinear

COUNTS = {
    "uneven": [3, 1, 7, 2],
    "empty experts": [0, 5, 0, 0],
    "all to the last": [0, 0, 0, 9],
    "nothing": [0, 0, 0, 0],
}


def product(backend: str, counts: list[int], dtype: torch.dtype, behind: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs, and the gradients of rows and weights, of the rows that have an expert; `behind` stand after those."""
    torch.manual_seed(0)
    layer = GroupedLinear(len(counts), 16, 24, backend).to(dtype)  # type: ignore[arg-type]
    rows = torch.randn(sum(counts) + behind, 16, dtype=dtype, requires_grad=True)
    with torch.no_grad():
        rows[sum(counts) :] = float("nan")
    out = layer(rows, torch.tensor(counts))[: sum(counts)]
    out.backward(torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype))
    assert rows.grad is not None
    assert layer.weight.grad is not None
    return out.detach(), rows.grad[: sum(counts)], layer.weight.grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("behind", [0, 4])
@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS)
def test_grouped_and_loop_agree_forward_and_backward(counts: list[int], behind: int, dtype: torch.dtype) -> None:
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {"rtol": 0.016, "atol": 1e-2}
    for grouped, loop in zip(
        product("grouped", counts, dtype, behind), product("loop", counts, dtype, behind), strict=True
    ):
        torch.testing.assert_close(grouped, loop, **tolerance)


def test_each_row_meets_the_matrix_of_its_group() -> None:
    layer = GroupedLinear(3, 4, 5, "loop")
    rows, counts = torch.randn(6, 4), torch.tensor([2, 0, 4])
    for row, out, group in zip(rows, layer(rows, counts), [0, 0, 2, 2, 2, 2], strict=True):
        torch.testing.assert_close(out, row @ layer.weight[group])


def test_the_kernel_is_taken_where_it_works_and_refused_by_name_where_it_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used = []
    for name, real in experts._BACKENDS.items():
        monkeypatch.setitem(experts._BACKENDS, name, lambda *given, n=name, f=real: used.append(n) or f(*given))
    counts = torch.tensor([1, 1])
    GroupedLinear(2, 16, 8)(torch.ones(2, 16), counts)
    GroupedLinear(2, 15, 8)(torch.ones(2, 15), counts)
    monkeypatch.setattr(experts, "kernel_works", lambda device, dtype: False)
    GroupedLinear(2, 16, 8)(torch.ones(2, 16), counts)
    assert used == ["grouped", "loop", "loop"]
    with pytest.raises(UserError, match=r"grouped does not work here in torch.float32 on cpu: use auto or loop"):
        GroupedLinear(2, 16, 8, "grouped")(torch.ones(2, 16), counts)
    with pytest.raises(UserError, match=r"grouped does not work for matrices of 15 x 8"):
        GroupedLinear(2, 15, 8, "grouped")(torch.ones(2, 15), counts)


def test_a_kernel_that_raises_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **options: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(experts, "_kernel", lambda: broken)
    assert not experts._try_kernel("cpu", torch.float32)


def test_products_are_in_autocasts_dtype_with_float32_gradients() -> None:
    layer = GroupedLinear(2, 16, 8)
    with torch.autocast("cpu", torch.bfloat16):
        out = layer(torch.randn(4, 16), torch.tensor([1, 3]))
    out.sum().backward()
    assert out.dtype == torch.bfloat16
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


@settings(max_examples=30, deadline=None)
@given(data=st.data(), tokens=st.integers(0, 6), num_experts=st.integers(1, 4), seed=st.integers(0, 99))
def test_there_and_back_each_kept_choice_met_its_own_expert(
    data: st.DataObject, tokens: int, num_experts: int, seed: int
) -> None:
    """Expert e multiplies by e + 1, so the sum of gates times that says who was met."""
    torch.manual_seed(seed)
    k = data.draw(st.integers(1, num_experts))
    chosen = (
        torch.stack([torch.randperm(num_experts)[:k] for _ in range(tokens)]) if tokens else torch.zeros(0, k).long()
    )
    kept, gates, hidden = torch.rand(tokens, k) < 0.7, torch.rand(tokens, k), torch.randn(tokens, 3)
    dispatch = Dispatch.from_choices(chosen, kept, num_experts)
    rows = dispatch.send(hidden)
    of_row = torch.arange(num_experts).repeat_interleave(dispatch.counts)
    assert dispatch.counts.tolist() == [int(((chosen == e) & kept).sum()) for e in range(num_experts)]
    met = rows.clone()
    met[: len(of_row)] *= of_row[:, None] + 1
    met[len(of_row) :] = float("nan")
    expected = hidden * (gates * kept * (chosen + 1)).sum(1, keepdim=True)
    torch.testing.assert_close(dispatch.combine(met, gates), expected)


def test_what_stands_behind_the_last_group_reaches_no_gradient() -> None:
    hidden = torch.randn(3, 4, requires_grad=True)
    kept = torch.tensor([[True, False], [False, False], [True, True]])
    dispatch = Dispatch.from_choices(torch.tensor([[0, 1], [1, 0], [1, 0]]), kept, 2)
    rows = dispatch.send(hidden)
    assert not rows[3:].any()
    gradient = torch.ones_like(rows)
    gradient[3:] = float("nan")
    rows.backward(gradient)
    assert hidden.grad is not None
    assert hidden.grad[:, 0].tolist() == [1.0, 0.0, 2.0]
    back = torch.full((6, 4), float("nan"), requires_grad=True)
    dispatch.combine(back, torch.ones(3, 2)).nan_to_num().sum().backward()
    assert back.grad is not None
    assert not back.grad[3:].any()


def test_bfloat16_rows_are_summed_in_float32_and_rounded_once() -> None:
    dispatch = Dispatch.from_choices(torch.tensor([[0, 1]]), torch.ones(1, 2, dtype=torch.bool), 2)
    rows, gates = torch.randn(2, 500).to(torch.bfloat16), torch.tensor([[0.7, 0.3]])
    assert torch.equal(dispatch.combine(rows, gates), (gates @ rows.float()).to(torch.bfloat16))
