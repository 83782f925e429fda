"""The router, its losses and its capacity; the whole layer beside Mixtral's and Qwen3-MoE's in transformers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import MixtralConfig, Qwen3MoeConfig
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from mm1.config import ConfigError, UserError, from_json
from mm1.models.decoder import Decoder, DecoderConfig
from mm1.models.moe import MoE, MoEConfig, _queue

EXPERTS, DIM = 4, 16


def layer(mlp: str = "swiglu", seed: int = 0, router_std: float = 1.0, **options: Any) -> MoE:
    torch.manual_seed(seed)
    made = MoE(MoEConfig(**{"num_experts": EXPERTS, **options}), DIM, 32, mlp)  # type: ignore[arg-type]
    nn.init.normal_(made.router.weight, std=router_std)
    return made


def all_real(hidden: Tensor) -> Tensor:
    return torch.ones(hidden.shape[:2], dtype=torch.bool)


def one_hot_tokens(*experts: int) -> Tensor:
    """A row of tokens that `certain` sends to these experts first."""
    return torch.eye(EXPERTS, DIM)[list(experts)][None]


def certain(scale: float = 100.0, **options: Any) -> MoE:
    """A layer whose logits are `scale` times the token's first values."""
    made = layer(**options)
    with torch.no_grad():
        made.router.weight.copy_(scale * torch.eye(EXPERTS, DIM))
    return made


@pytest.mark.parametrize("scale", [0.1, 100.0])
def test_a_balanced_router_has_a_load_balance_loss_of_one(scale: float) -> None:
    hidden = one_hot_tokens(2, 0, 1, 3, 3, 1, 0, 2)
    routing = certain(scale)(hidden, all_real(hidden))[1]
    assert routing.load_balance.item() == pytest.approx(1.0)
    assert routing.load.sum() == pytest.approx(1.0)


def test_one_expert_for_everything_has_as_many_as_there_are() -> None:
    hidden = one_hot_tokens(2, 2, 2)
    routing = certain()(hidden, all_real(hidden))[1]
    assert routing.load_balance.item() == pytest.approx(EXPERTS)
    assert routing.load[2] == pytest.approx(0.5)
    assert routing.entropy == pytest.approx(0.0, abs=1e-6)


def test_load_balance_is_of_first_choices_and_mean_probabilities() -> None:
    hidden = torch.randn(2, 9, DIM)
    made = layer(top_k=3)
    probabilities = (hidden @ made.router.weight.T).softmax(-1).flatten(0, 1)
    first = torch.stack([(probabilities.argmax(-1) == expert).float().mean() for expert in range(EXPERTS)])
    expected = EXPERTS**2 * (first * probabilities.mean(0)).mean()
    routing = made(hidden, all_real(hidden))[1]
    torch.testing.assert_close(routing.load_balance, expected)
    wanted = torch.autograd.grad(expected, made.router.weight)[0]
    torch.testing.assert_close(torch.autograd.grad(routing.load_balance, made.router.weight)[0], wanted)
    assert wanted.any()


def test_a_router_that_says_nothing_has_the_z_loss_and_entropy_of_its_number_of_experts() -> None:
    hidden = torch.randn(2, 5, DIM)
    routing = layer(router_std=0.0)(hidden, all_real(hidden))[1]
    assert routing.router_z.item() == pytest.approx(math.log(EXPERTS) ** 2)
    assert routing.entropy.item() == pytest.approx(math.log(EXPERTS))


def test_the_z_loss_is_a_mean_of_squared_logsumexps_with_gradients() -> None:
    hidden = torch.randn(2, 5, DIM)
    made = layer()
    expected = torch.logsumexp(hidden @ made.router.weight.T, -1).square().mean()
    routing = made(hidden, all_real(hidden))[1]
    torch.testing.assert_close(routing.router_z, expected)
    grads = [torch.autograd.grad(value, made.router.weight)[0] for value in (routing.router_z, expected)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
@pytest.mark.parametrize("backend", ["grouped", "loop"])
def test_a_token_becomes_the_sum_of_its_best_experts_by_renormalised_gates(mlp: str, backend: str) -> None:
    hidden = torch.randn(1, 6, DIM)
    made = layer(mlp, backend=backend)
    mixed = made(hidden, all_real(hidden))[0]
    for token, out in zip(hidden[0], mixed[0], strict=True):
        probabilities = (made.router.weight @ token).softmax(0).tolist()
        best = sorted(range(EXPERTS), key=lambda expert: -probabilities[expert])[:2]
        total = sum(probabilities[expert] for expert in best)
        expected = sum(probabilities[expert] / total * expert_mlp(made, expert, token) for expert in best)
        torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


def expert_mlp(made: MoE, expert: int, token: Tensor) -> Tensor:
    if made.gate_up is not None:
        gate, up = (token @ made.gate_up.weight[expert]).chunk(2)
        return (nn.functional.silu(gate) * up) @ made.down.weight[expert]
    assert made.up is not None
    return nn.functional.gelu(token @ made.up.weight[expert]) @ made.down.weight[expert]


@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
def test_the_whole_layer_is_the_same_with_both_back_ends_in_forward_and_backward(mlp: str) -> None:
    """Every fifth position is padding, and one expert is chosen by nobody."""
    results = []
    for backend in ("grouped", "loop"):
        made = layer(mlp, backend=backend)
        with torch.no_grad():
            made.router.weight[1] = -50 * torch.ones(DIM)
        hidden = torch.randn(2, 10, DIM, generator=torch.Generator().manual_seed(1)).abs().requires_grad_()
        real = torch.arange(20).view(2, 10) % 5 != 4
        mixed, routing = made(hidden, real)
        (mixed.square().sum() + routing.load_balance + routing.router_z).backward()
        assert routing.load[1] == 0
        results.append([mixed, hidden.grad, *(parameter.grad for parameter in made.parameters())])
    for grouped, loop in zip(*results, strict=True):
        torch.testing.assert_close(grouped, loop, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", ["grouped", "loop"])
@pytest.mark.parametrize("rows", [0, 2])
def test_no_real_token_at_all_gives_zeros_and_reaches_every_parameter(backend: str, rows: int) -> None:
    made = layer(backend=backend)
    hidden = torch.randn(rows, 3, DIM, requires_grad=True)
    mixed, routing = made(hidden, torch.zeros(rows, 3, dtype=torch.bool))
    (mixed.sum() + routing.load_balance + routing.router_z).backward()
    assert not mixed.any()
    assert all(not value.any() for value in routing)
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in made.parameters())
    assert hidden.grad is not None
    assert not hidden.grad.any()


@pytest.mark.parametrize("capacity_factor", [None, 1.0])
def test_padding_is_routed_nowhere_and_counts_in_no_mean(capacity_factor: float | None) -> None:
    """Rows of eight with padding in between are rows of five, if the experts have as many slots."""
    real = torch.tensor([1, 0, 1, 1, 0, 1, 0, 1], dtype=torch.bool).expand(2, 8)
    hidden = torch.randn(2, 8, DIM)
    hidden[~real] = float("nan")
    padded = layer(capacity_factor=capacity_factor)
    short = layer(capacity_factor=capacity_factor and 8 / 5)
    mixed, routing = padded(hidden, real)
    expected, expected_routing = short(hidden[real].view(2, 5, DIM), torch.ones(2, 5, dtype=torch.bool))
    torch.testing.assert_close(mixed[real].view(2, 5, DIM), expected)
    assert not mixed[~real].any()
    for value, wanted in zip(routing, expected_routing, strict=True):
        torch.testing.assert_close(value, wanted)
    assert (routing.dropped > 0) == (capacity_factor is not None)


def test_the_router_decides_in_float32_under_autocast_and_in_a_bfloat16_model() -> None:
    """Two logits that differ by less than bfloat16 can tell: the order of the experts must not flip."""
    made = layer(top_k=1)
    with torch.no_grad():
        made.router.weight.zero_()
        made.router.weight[1, 0], made.router.weight[2, 0] = 1.0, 1.0 + 2**-12
    hidden = torch.zeros(1, 1, DIM)
    hidden[0, 0, 0] = 1.0
    with torch.autocast("cpu", torch.bfloat16):
        mixed, routing = made(hidden, all_real(hidden))
    assert routing.load.tolist() == [0, 0, 1, 0]
    assert all(value.dtype == torch.float32 for value in routing)
    assert mixed.dtype == torch.bfloat16
    made, hidden = layer(), torch.randn(2, 9, DIM)
    with torch.autocast("cpu", torch.bfloat16):
        routing = made(hidden, all_real(hidden))[1]
    for value, wanted in zip(routing, made(hidden, all_real(hidden))[1], strict=True):
        assert torch.equal(value, wanted)
    small = layer().to(torch.bfloat16)
    hidden = torch.randn(1, 9, DIM, dtype=torch.bfloat16)
    exact = layer()
    exact.router.weight.data = small.router.weight.float()
    mixed, routing = small(hidden, all_real(hidden))
    assert mixed.dtype == torch.bfloat16
    for value, wanted in zip(routing, exact(hidden.float(), all_real(hidden))[1], strict=True):
        assert torch.equal(value, wanted)


def slots_by_hand(experts: list[list[int]], real: list[bool], slots: int) -> list[list[bool]]:
    """Which choices find a slot, one row, in words: pass by pass over ranks, token by token."""
    taken = dict.fromkeys(range(EXPERTS), 0)
    kept = [[False] * len(choices) for choices in experts]
    for rank in range(len(experts[0])):
        for token, choices in enumerate(experts):
            if real[token] and taken[choices[rank]] < slots:
                taken[choices[rank]] += 1
                kept[token][rank] = True
    return kept


@settings(max_examples=40, deadline=None)
@given(
    rows=st.integers(1, 3),
    length=st.integers(1, 9),
    k=st.integers(1, 3),
    slots=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_slots_go_to_first_choices_in_token_order_then_to_second_choices(
    rows: int, length: int, k: int, slots: int, seed: int
) -> None:
    torch.manual_seed(seed)
    experts = torch.rand(rows, length, EXPERTS).argsort(-1)[..., :k]
    real = torch.rand(rows, length) < 0.8
    kept = real[..., None] & (_queue(experts, real, EXPERTS) < slots)
    assert kept.tolist() == [slots_by_hand(e, r, slots) for e, r in zip(experts.tolist(), real.tolist(), strict=True)]


def test_a_choice_without_a_slot_has_gate_zero_and_the_others_keep_theirs() -> None:
    """Six tokens, capacity int(6 · 1 / 4) = 1: the second token finds its first expert full; its other one is free."""
    hidden = one_hot_tokens(0, 0, 1, 2, 0, 0) + 0.5 * one_hot_tokens(1, 3, 2, 0, 2, 1)
    made = certain(3.0, capacity_factor=1.0)
    mixed, routing = made(hidden, all_real(hidden))
    gates = (3.0 * hidden[0, 1, :EXPERTS]).softmax(0)
    expected = gates[3] / (gates[0] + gates[3]) * expert_mlp(made, 3, hidden[0, 1])
    torch.testing.assert_close(mixed[0, 1], expected)
    assert not mixed[0, 4:].any()
    # kept: first choices of tokens 0, 2 and 3, and the second choice of token 1
    assert routing.dropped.item() == pytest.approx(1 - 4 / 12)
    free = certain(3.0)(hidden, all_real(hidden))[1]
    for name in ("load_balance", "router_z", "load", "entropy"):
        assert torch.equal(getattr(routing, name), getattr(free, name)), name
    assert free.dropped == 0


def test_capacity_is_of_each_row_and_of_training_only() -> None:
    hidden = one_hot_tokens(0, 0, 0, 0).expand(3, 4, DIM)
    made = certain(capacity_factor=2.0, top_k=1)
    kept = made(hidden, all_real(hidden))[0].any(-1)
    assert kept.tolist() == [[True, True, False, False]] * 3
    made.eval()
    mixed, routing = made(hidden, all_real(hidden))
    assert mixed.any(-1).all()
    assert routing.dropped == 0


def test_a_capacity_of_no_slot_is_refused_with_what_would_do() -> None:
    hidden = torch.randn(1, 8, DIM)
    with pytest.raises(UserError, match=r"capacity_factor=0\.25 leaves 4 experts no slot in rows of 8 .* 0\.5 or more"):
        layer(capacity_factor=0.25)(hidden, all_real(hidden))


def test_configs_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="top_k 3 is more than num_experts 2"):
        from_json(MoEConfig, {"num_experts": 2, "top_k": 3})


@pytest.mark.parametrize(("every", "sparse"), [(1, [0, 1, 2, 3]), (2, [1, 3]), (4, [3])])
def test_every_nth_layer_is_sparse(every: int, sparse: list[int]) -> None:
    config = MoEConfig(num_experts=2, every=every)
    assert [number for number in range(4) if config.is_sparse(number)] == sparse


@pytest.mark.parametrize("mlp", ["swiglu", "gelu"])
def test_experts_begin_like_the_mlps_they_replace(mlp: str) -> None:
    """Each expert's own values, of the standard deviations of the dense layer before it."""
    torch.manual_seed(0)
    shape = {"vocab_size": 8, "dim": 64, "mlp_dim": 128, "num_layers": 2, "mlp": mlp}
    dense, sparse = (block.mlp for block in Decoder(DecoderConfig(**shape, moe=MoEConfig(num_experts=3))).blocks)
    first = "gate_up" if mlp == "swiglu" else "up"
    for name in (first, "down"):
        wanted = getattr(dense, name).weight.std().item()
        matrices = getattr(sparse, name).weight
        assert [matrix.std().item() for matrix in matrices] == pytest.approx([wanted] * 3, rel=0.05)
        assert not torch.equal(matrices[0], matrices[1])
    assert sparse.router.weight.std().item() == pytest.approx(0.02, rel=0.2)


def copied(reference: nn.Module, **options: Any) -> MoE:
    """Our layer with the weights of a sparse block of transformers, whose matrices are (E, out, in)."""
    weights = {
        "router.weight": reference.gate.weight,
        "gate_up.weight": reference.experts.gate_up_proj.transpose(1, 2),
        "down.weight": reference.experts.down_proj.transpose(1, 2),
    }
    made = MoE(MoEConfig(**options), reference.gate.weight.shape[1], reference.experts.down_proj.shape[2], "swiglu")
    made.load_state_dict(weights)
    return made


def mixtral() -> tuple[nn.Module, dict[str, Any]]:
    config = MixtralConfig(hidden_size=256, intermediate_size=512, num_local_experts=8, num_experts_per_tok=2)
    return MixtralSparseMoeBlock(config), {"num_experts": 8}


def qwen3(norm_topk_prob: bool) -> tuple[nn.Module, dict[str, Any]]:
    config = Qwen3MoeConfig(
        hidden_size=256,
        moe_intermediate_size=96,
        num_experts=16,
        num_experts_per_tok=8,
        norm_topk_prob=norm_topk_prob,
    )
    return Qwen3MoeSparseMoeBlock(config), {"num_experts": 16, "top_k": 8, "renormalise": norm_topk_prob}


REFERENCES = {
    "mixtral": mixtral,
    "qwen3-moe": lambda: qwen3(norm_topk_prob=True),
    "qwen3-moe, gates as they are": lambda: qwen3(norm_topk_prob=False),
}


@pytest.mark.parametrize("backend", ["grouped", "loop"])
@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_outputs_and_gradients_are_those_of_transformers(reference: Any, backend: str) -> None:
    """Measured: outputs, of size 1, differ by at most 2.4e-7; gradients, of size 1e-3, by at most 1.4e-9."""
    torch.manual_seed(0)
    theirs, options = reference()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=parameter.shape[-1] ** -0.5)
    ours = copied(theirs, backend=backend, **options)
    hidden = torch.randn(3, 20, 256)
    inputs = [hidden.clone().requires_grad_() for _ in range(2)]
    mixed, expected = ours(inputs[0], all_real(hidden))[0], theirs(inputs[1])
    torch.testing.assert_close(mixed, expected, rtol=0, atol=2e-6)
    for out in (mixed, expected):
        out.square().mean().backward()
    pairs = [(inputs[0].grad, inputs[1].grad), (ours.router.weight.grad, theirs.gate.weight.grad)]
    assert ours.gate_up is not None
    pairs += [
        (layer_.weight.grad, matrix.grad.transpose(1, 2))
        for layer_, matrix in [(ours.gate_up, theirs.experts.gate_up_proj), (ours.down, theirs.experts.down_proj)]
        if layer_.weight.grad is not None
    ]
    assert len(pairs) == 4
    for gradient, wanted in pairs:
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=2e-8)
