from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mm1.distributed.mesh import World
from mm1.models.attention import AttentionMask
from mm1.models.connector import AttentionPoolConfig, AvgPoolConfig
from mm1.recipes.catalog import load_recipe
from mm1.train.costs import flops_per_sequence, parameters
from mm1.train.layout import ParallelConfig
from mm1.train.objectives import build_objective
from mm1.train.planning.cut import cut
from mm1.train.planning.full import full_batch
from mm1.train.planning.memory import kept
from mm1.train.planning.pieces import PARTS, TraceConfig
from mm1.train.planning.trace import Recorder
from mm1.train.run import deterministic, initial_state, loop_config
from mm1.train.stage import StageConfig
from tests.train.tiny import stage

CPU_LIKE = TraceConfig(bf16=False, fused_attention=False)


def of_parts(name: str, **overrides):
    config = stage(name, **overrides)
    return config, cut(config, 2, CPU_LIKE)


@pytest.mark.parametrize("name", ["mm1", "moe"])
def test_pieces_have_all_parameters(name: str) -> None:
    config, found = of_parts(name)
    assert sum(piece.parameters * piece.repeats for piece in found) == parameters(config)["total"]
    assert all(piece.trained == piece.parameters for piece in found)


def test_traced_products_are_those_of_the_costs() -> None:
    config = load_recipe("mm1-7b-moe").stage("pretrain")
    found, flops = cut(config, 1, TraceConfig()), flops_per_sequence(config)
    traced = dict.fromkeys(PARTS, 0.0)
    for piece in found:
        for kind in ("product", "attention"):
            causal = 2 if (kind, piece.part) == ("attention", "decoder") else 1
            if piece.part == "output":  # the loss makes all its products in the forward
                traced["output"] += piece.cost.flops(kind, "forward") + piece.cost.flops(kind, "backward")
            else:
                traced[piece.part] += piece.repeats * 3 * piece.cost.flops(kind, "forward") / causal
    # The mask's diagonal, and C-Abstractor's squeeze, which is made once an image and not once a patch
    for part in PARTS:
        assert traced[part] == pytest.approx(flops[part], rel=2e-3), part


@pytest.mark.parametrize("mode", ["none", "selective", "full"])
@pytest.mark.parametrize("name", ["mm1", "moe"])
def test_what_blocks_keep_is_what_a_real_step_keeps(name: str, mode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AttentionMask, "from_segments", staticmethod(dense(AttentionMask.from_segments)))
    found = []
    for layers in (2, 6):
        config = stage(name, rows=2, precision="fp32", parallel=ParallelConfig(activation_checkpointing=mode))
        decoder = config.model.decoder.replace(num_layers=layers)
        config = config.replace(model=config.model.replace(decoder=decoder))
        planned = sum(piece.repeats * kept(piece, config.parallel) for piece in cut(config, 2, CPU_LIKE))
        found.append((planned, kept_by_a_step(config)))
    (few, really_few), (many, really_many) = found
    assert many - few == pytest.approx(really_many - really_few, rel=1e-3), "four blocks more"
    assert few == pytest.approx(really_few, rel=0.05)


def kept_by_a_step(config: StageConfig) -> int:
    """Bytes that are there when the backward is about to begin, and were not before the forward."""
    state = initial_state(config, {}, World())
    batch, objective = full_batch(config, config.data.rows), build_objective(config.objective, config.loss)
    with deterministic(), loop_config(config, World()).autocast():
        objective(state.model, batch)  # what is made once a process
        gc.collect()
        recorder = Recorder()
        there = [*state.model.parameters(), *(value for value in vars_of(batch) if isinstance(value, torch.Tensor))]
        recorder._seen.update(id(tensor.untyped_storage()) for tensor in there)
        with recorder:
            losses = objective(state.model, batch)
    assert losses.total.requires_grad
    return recorder.live


def dense(make: Callable[..., AttentionMask]) -> Callable[..., AttentionMask]:
    """As plans take them to be: masks whose matrix is there."""

    def made(segment_ids: torch.Tensor) -> AttentionMask:
        mask = make(segment_ids)
        _ = mask.allowed
        return mask

    return made


def vars_of(batch) -> list[object]:
    return [getattr(batch, name) for name in batch.__slots__]


def test_a_full_batch_is_one_that_the_model_takes_and_as_full_as_planned() -> None:
    config = stage("mm1")
    batch = full_batch(config, 3)
    assert batch.num_images * config.model.num_image_tokens == int((batch.image_index >= 0).sum())
    assert batch.image_index.max() + 1 == batch.num_images * config.model.num_image_tokens
    assert torch.equal(batch.target_index, (batch.targets.flatten() >= 0).nonzero().flatten())
    initial_state(config, {}, World()).model(batch)


def test_frozen_parts_keep_nothing_and_train_nothing() -> None:
    config = stage("mm1")
    frozen = config.replace(optimizer=config.optimizer.replace(frozen=("image_encoder",)))
    free = {piece.name: piece for piece in cut(config, 2, CPU_LIKE) if piece.part == "image_encoder"}
    for piece in cut(frozen, 2, CPU_LIKE):
        if piece.part == "image_encoder":
            assert piece.trained == piece.state == 0
            assert piece.cost.kept == piece.cost.result < free[piece.name].cost.kept


def test_a_prefix_freezes_what_it_covers() -> None:
    config = stage("mm1")
    found = cut(
        config.replace(optimizer=config.optimizer.replace(frozen=("decoder.blocks", "decoder.norm"))), 1, CPU_LIKE
    )
    still = {piece.name: piece.trained for piece in found if piece.part in ("decoder", "output")}
    assert still["block"] == still["output"] == 0 < still["embedding"]
    assert all(piece.cost.backward for piece in found), "gradients pass through"


def test_states_by_optimizer() -> None:
    config = stage("mm1")
    sizes = {}
    for kind in ("adamw", "muon", "adafactor"):
        found = cut(config.replace(optimizer=config.optimizer.replace(kind=kind, factor_from=16)), 1, CPU_LIKE)
        sizes[kind] = sum(piece.state * piece.repeats for piece in found)
    assert sizes["adamw"] == 8 * parameters(config)["total"]
    assert sizes["adafactor"] < sizes["muon"] < sizes["adamw"]


@pytest.mark.parametrize("connector", [AvgPoolConfig(num_image_tokens=4), AttentionPoolConfig(num_image_tokens=4)])
def test_any_connector_is_traced(connector) -> None:
    config = stage("mm1")
    found = cut(config.replace(model=config.model.replace(connector=connector)), 1, CPU_LIKE)
    assert [piece.cost.kept > 0 for piece in found if piece.part == "connector"] == [True]
