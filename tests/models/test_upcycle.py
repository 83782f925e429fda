from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from mm1.config import UserError
from mm1.models.attention import AttentionMask
from mm1.models.decoder import DecoderConfig
from mm1.models.mm1 import MM1, MM1Config
from mm1.models.moe import MoEConfig
from mm1.models.upcycle import upcycle


def dense(**options: Any) -> tuple[MM1Config, MM1]:
    """Weights large enough for the MLPs to matter."""
    shape = {"vocab_size": 64, "dim": 32, "mlp_dim": 48, "num_layers": 4, **options}
    config = MM1Config(decoder=DecoderConfig(**shape))
    torch.manual_seed(0)
    model = MM1(config)
    for parameter in model.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return config, model


def sparse_twin(moe: MoEConfig, seed: int = 0, **options: Any) -> tuple[MM1, MM1]:
    config, model = dense(**options)
    twin_config, weights = upcycle(config, model.state_dict(), moe, seed)
    twin = MM1(twin_config)
    twin.load_state_dict(weights)
    return model, twin


def hidden(model: MM1, tokens: torch.Tensor) -> torch.Tensor:
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    mask = AttentionMask.from_segments(torch.zeros_like(tokens))
    states: torch.Tensor = model.decoder(model.decoder.embed(tokens), positions, mask).hidden
    return states


@pytest.mark.parametrize("router_std", [0.02, 3.0])
@pytest.mark.parametrize("options", [{"mlp": "swiglu"}, {"mlp": "gelu"}, {"norm_placement": "post"}])
@pytest.mark.parametrize("moe", [{}, {"every": 1, "top_k": 3}, {"every": 4, "top_k": 1, "capacity_factor": 4.0}])
def test_the_sparse_model_computes_what_the_dense_one_did_whatever_its_routers_say(
    moe: dict[str, Any], options: dict[str, Any], router_std: float
) -> None:
    model, twin = sparse_twin(MoEConfig(num_experts=4, **moe), **options)
    for name, parameter in twin.named_parameters():
        if name.endswith("router.weight"):
            nn.init.normal_(parameter, std=router_std)
    tokens = torch.randint(0, 64, (2, 12), generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(hidden(twin, tokens), hidden(model, tokens), rtol=1e-5, atol=1e-5)


def test_only_every_nth_mlp_changes_and_routers_come_from_the_seed() -> None:
    config, model = dense()
    weights = model.state_dict()
    twin_config, twin = upcycle(config, weights, MoEConfig(num_experts=4))
    routers = [f"decoder.blocks.{layer}.mlp.router.weight" for layer in (1, 3)]
    assert set(twin) - set(weights) == set(routers)
    changed = {name for name in weights if not torch.equal(torch.as_tensor(twin[name]), weights[name])}
    assert changed == {f"decoder.blocks.{layer}.mlp.{kind}.weight" for layer in (1, 3) for kind in ("up", "down")}
    assert twin_config.decoder.moe == MoEConfig(num_experts=4)
    again, other = (upcycle(config, weights, MoEConfig(num_experts=4), seed)[1] for seed in (0, 1))
    assert all(torch.equal(again[name], twin[name]) for name in routers)
    assert not any(torch.equal(other[name], twin[name]) for name in routers)
    assert not torch.equal(twin[routers[0]], twin[routers[1]])


@pytest.mark.parametrize(
    ("moe", "message"),
    [
        ({"renormalise": False}, "set renormalise=true"),
        ({"expert_dim": 24}, "experts of width 24 cannot be copies of an MLP of width 48"),
        ({"every": 5}, "every=5 makes none of the 4 layers sparse: lower it to 4 or less"),
    ],
)
def test_what_could_not_compute_the_same_is_refused(moe: dict[str, Any], message: str) -> None:
    config, model = dense()
    with pytest.raises(UserError, match=message):
        upcycle(config, model.state_dict(), MoEConfig(num_experts=4, **moe))


def test_a_sparse_model_is_not_upcycled() -> None:
    config, model = dense(moe=MoEConfig(num_experts=4))
    with pytest.raises(UserError, match="has 4 experts already"):
        upcycle(config, model.state_dict(), MoEConfig(num_experts=8))
