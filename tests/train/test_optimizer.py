from __future__ import annotations

from types import ModuleType

import pytest
import torch
from torch import nn

from mm1.config import UserError
from mm1.train.optimizer import OptimizerConfig, Optimizers, freeze, parameter_table


def rows(tiny: ModuleType, config: OptimizerConfig) -> dict[str, tuple[str, float, float]]:
    model = tiny.stage().build()
    return {
        row.name: (row.optimizer, row.weight_decay, row.learning_rate_scale) for row in parameter_table(model, config)
    }


def test_muon_takes_the_matrices_of_hidden_layers_and_nothing_else(tiny: ModuleType) -> None:
    table = rows(tiny, OptimizerConfig(kind="muon"))
    muon = {name for name, (kind, _, _) in table.items() if kind == "muon"}
    linear = {f"{n}.weight" for n, module in tiny.stage().build().named_modules() if isinstance(module, nn.Linear)}
    assert muon == linear
    assert table["decoder.embedding.weight"][0] == table["image_encoder.positions"][0] == "adamw"
    for kind in ("adamw", "adafactor"):
        assert {row[0] for row in rows(tiny, OptimizerConfig.model_validate({"kind": kind})).values()} == {kind}


def test_routers_and_experts_are_adamws_and_decay(tiny: ModuleType) -> None:
    config = OptimizerConfig(kind="muon", weight_decay=0.2)
    table = {row.name: row for row in parameter_table(tiny.stage("moe").build(), config)}
    assert table["decoder.blocks.0.mlp.up.weight"].optimizer == "muon"
    for name in ("router", "up", "down"):
        row = table[f"decoder.blocks.1.mlp.{name}.weight"]
        assert (row.optimizer, row.weight_decay) == ("adamw", 0.2), name


def test_vectors_and_scalars_do_not_decay(tiny: ModuleType) -> None:
    table = rows(tiny, OptimizerConfig(weight_decay=0.2))
    model = tiny.stage().build()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert table[name][1] == (0.2 if parameter.ndim >= 2 else 0.0), name


def test_the_longest_prefix_wins_and_a_prefix_ends_at_a_dot(tiny: ModuleType) -> None:
    scales = {"image_encoder": 0.1, "image_encoder.blocks.1": 0.5, "decoder.blocks": 2.0}
    table = rows(tiny, OptimizerConfig(learning_rate_scales=scales))
    assert table["image_encoder.blocks.0.qkv.weight"][2] == 0.1
    assert table["image_encoder.blocks.1.qkv.weight"][2] == 0.5
    assert table["decoder.blocks.0.mlp.up.weight"][2] == 2.0
    assert table["decoder.embedding.weight"][2] == 1.0


@pytest.mark.parametrize("changes", [{"frozen": ("image_encodr",)}, {"learning_rate_scales": {"image_encodr": 0.1}}])
def test_an_unknown_prefix_is_refused_and_the_nearest_named(tiny: ModuleType, changes: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"'image_encodr'.*did you mean 'image_encoder'"):
        parameter_table(tiny.stage().build(), OptimizerConfig.model_validate(changes))


def test_half_a_name_is_no_prefix(tiny: ModuleType) -> None:
    with pytest.raises(UserError, match="'decod'"):
        parameter_table(tiny.stage().build(), OptimizerConfig(frozen=("decod",)))


def test_freezing_everything_is_refused(tiny: ModuleType) -> None:
    model = tiny.stage().build()
    config = OptimizerConfig(frozen=("image_encoder", "connector", "decoder"))
    freeze(model, config)
    with pytest.raises(UserError, match="every parameter"):
        Optimizers(model, config)


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_steps_as_torch_steps_with_the_scaled_rate_and_state_from_the_start(tiny: ModuleType, kind: str) -> None:
    """One AdamW parameter against torch's own AdamW, which allocates its state when it first steps."""
    model = tiny.stage().build()
    config = OptimizerConfig.model_validate(
        {"kind": kind, "learning_rate": 0.01, "weight_decay": 0.3, "learning_rate_scales": {"decoder": 0.5}}
    )
    optimizers = Optimizers(model, config)
    embedding = model.decoder.embedding.weight
    twin = torch.nn.Parameter(embedding.detach().clone())
    reference = torch.optim.AdamW([twin], lr=0.01 * 0.5 * 0.7, weight_decay=0.3, betas=(0.9, 0.95), eps=1e-8)
    for _ in range(3):
        for parameter in optimizers.parameters:
            parameter.grad = torch.randn(parameter.shape)
        assert embedding.grad is not None
        twin.grad = embedding.grad.clone()
        optimizers.step(0.7, torch.zeros(()))
        reference.step()
    torch.testing.assert_close(embedding, twin, rtol=1e-5, atol=1e-7)
    assert embedding.grad is None


@pytest.mark.parametrize("kind", ["adamw", "muon", "adafactor"])
def test_a_skipped_step_changes_nothing(tiny: ModuleType, kind: str) -> None:
    model = tiny.stage().build()
    optimizers = Optimizers(model, OptimizerConfig.model_validate({"kind": kind}))
    for skip, value in ((0.0, 1.0), (1.0, float("inf"))):
        before = [tensor.detach().clone() for tensor in (*model.parameters(), *optimizers.tensors().values())]
        for parameter in optimizers.parameters:
            parameter.grad = torch.full(parameter.shape, value)
        optimizers.step(1.0, torch.tensor(skip))
        after = [*model.parameters(), *optimizers.tensors().values()]
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True)) == bool(skip)


@pytest.mark.parametrize("kind", ["adamw", "muon", "adafactor"])
def test_weight_decay_is_the_papers_decoupled_rule(tiny: ModuleType, kind: str) -> None:
    """With no gradient, w ← (1 - s λ) w where λ = weight_decay · η."""
    model = tiny.stage().build()
    config = {"kind": kind, "learning_rate": 1e-2, "weight_decay": 0.1}
    optimizers = Optimizers(model, OptimizerConfig.model_validate(config))
    before = model.decoder.embedding.weight.detach().clone()
    for parameter in optimizers.parameters:
        parameter.grad = torch.zeros(parameter.shape)
    optimizers.step(0.5, torch.zeros(()))
    torch.testing.assert_close(model.decoder.embedding.weight, before * (1 - 0.5 * 0.1 * 1e-2), rtol=1e-6, atol=1e-9)


def test_adafactor_keeps_two_vectors_for_a_matrix(tiny: ModuleType) -> None:
    optimizers = Optimizers(tiny.stage("moe").build(), OptimizerConfig(kind="adafactor", factor_from=8))
    state = {name: tuple(tensor.shape) for name, tensor in optimizers.tensors().items()}
    assert (state["decoder.embedding.weight.row"], state["decoder.embedding.weight.column"]) == ((320,), (32,))
    assert state["decoder.blocks.1.mlp.up.weight.row"][0] == 4  # of every expert
    kept = sum(tensor.numel() for tensor in optimizers.tensors().values())
    assert kept < sum(parameter.numel() for parameter in optimizers.parameters) / 5


@pytest.mark.parametrize("kind", ["adamw", "muon", "adafactor"])
def test_a_bounded_parameter_stops_at_its_bound_and_comes_back(kind: str) -> None:
    class Bounded(nn.Module):
        upper_bounds = {"scale": 1.0}  # noqa: RUF012

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([0.9]))
            self.other = nn.Parameter(torch.tensor([0.9]))

    model = Bounded()
    optimizers = Optimizers(model, OptimizerConfig(kind=kind, learning_rate=0.1, weight_decay=0.0))
    for direction, low, high in ((-1.0, 1.0, 1.0), (-1.0, 1.0, 1.0), (30.0, 0.8, 0.99)):
        for parameter in model.parameters():
            parameter.grad = torch.tensor([direction])
        optimizers.step(1.0, torch.zeros(()))
        assert low <= model.scale.item() <= high
    assert model.other.item() > model.scale.item()
