from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from mm1.config import override
from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.train.objectives import LossConfig, build_objective, contrastive, next_token
from mm1.types import IGNORE, Batch


def batch_of(
    tiny: ModuleType, folder: Path, model: str, model_changes: dict[str, object] | None = None, **changes: object
) -> tuple[torch.nn.Module, Batch]:
    """A model and the first batch of its stage; `model_changes` are to its sparse layers."""
    config = tiny.stage(model, **changes)
    if model_changes:
        config = override(config, [f"model.decoder.moe.{key}={value}" for key, value in model_changes.items()])
    tokens = config.model.num_image_tokens
    tokenizer, sources = tiny.world_of(folder, tokens)
    plan = build_plan(config.data, sources, tokens, pairs=model == "clip")
    return config.build(), Loader(plan, DocumentEncoder(tokenizer, tokens, 16), sources).batch(0)


def test_next_token_is_cross_entropy_over_all_positions_that_are_targets(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "mm1")
    losses = next_token(model, batch)
    logits = model.logits(model(batch).hidden)
    reference = F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), ignore_index=IGNORE, reduction="sum")
    torch.testing.assert_close(losses.total, reference)
    assert losses.count == (batch.targets != IGNORE).sum()


def test_next_token_splits_by_source(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "mm1")
    losses = next_token(model, batch)
    assert not losses.source_totals.requires_grad
    for index, name in enumerate(batch.source_names):
        mine = torch.where(batch.source_ids == index, batch.targets, IGNORE)
        only = replace(batch, targets=mine, target_index=(mine.flatten() != IGNORE).nonzero().flatten())
        part = next_token(model, only)
        torch.testing.assert_close(losses.source_totals[index], part.total.detach(), msg=name)
        assert losses.source_counts[index] == part.count > 0


def test_next_token_has_float32_logits_under_autocast(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "mm1")
    seen = []
    real = model.logits
    model.logits = lambda hidden: seen.append(real(hidden)) or seen[-1]  # type: ignore[assignment]
    with torch.autocast("cpu", torch.bfloat16):
        losses = next_token(model, batch)
    assert seen[0].dtype == losses.total.dtype == torch.float32
    assert seen[0].shape[0] == len(batch.target_index)


def test_a_batch_without_targets_costs_nothing_and_reaches_every_parameter(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "mm1")
    empty = replace(batch, targets=torch.full_like(batch.targets, IGNORE), target_index=batch.target_index[:0])
    losses = next_token(model, empty)
    losses.total.backward()
    assert losses.total == losses.count == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)


def sparse(model: torch.nn.Module, router_std: float = 1.0) -> torch.nn.Module:
    for name, parameter in model.named_parameters():
        if name.endswith("router.weight"):
            torch.nn.init.normal_(parameter, std=router_std)
    return model


def test_the_routers_losses_join_the_total_by_their_weights_summed_over_layers(
    tiny: ModuleType, tmp_path: Path
) -> None:
    model, batch = batch_of(tiny, tmp_path, "moe", model_changes={"every": 1})
    routing = sparse(model)(batch).routing
    assert len(routing) == 2
    plain = next_token(model, batch, LossConfig(load_balance=0.0, router_z=0.0))
    losses = next_token(model, batch, LossConfig(load_balance=0.3, router_z=0.02))
    auxiliary = sum(0.3 * layer.load_balance + 0.02 * layer.router_z for layer in routing)
    assert auxiliary > 0.6
    torch.testing.assert_close(losses.total, plain.total + plain.count * auxiliary)
    assert torch.equal(losses.source_totals, plain.source_totals)
    assert losses.source_totals.sum() == pytest.approx(plain.total.item(), rel=1e-5)
    wanted = torch.autograd.grad(plain.total + plain.count * auxiliary, model.decoder.blocks[0].mlp.router.weight)[0]
    given = torch.autograd.grad(losses.total, model.decoder.blocks[0].mlp.router.weight)[0]
    torch.testing.assert_close(given, wanted)


def test_what_a_stage_says_nothing_of_is_weighed_as_in_the_paper(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "moe")
    (layer,) = sparse(model)(batch).routing
    plain = next_token(model, batch, LossConfig(load_balance=0.0, router_z=0.0))
    losses = build_objective("next_token", tiny.stage("moe").loss)(model, batch)
    expected = plain.total + plain.count * (0.01 * layer.load_balance + 0.001 * layer.router_z)
    torch.testing.assert_close(losses.total, expected, rtol=1e-6, atol=0)


def test_what_routers_did_goes_to_the_log_as_means_over_layers(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "moe", model_changes={"every": 1, "capacity_factor": 1.0})
    routing = sparse(model)(batch).routing
    extra = next_token(model, batch).extra
    expected = {
        "load_balance": sum(layer.load_balance for layer in routing) / 2,
        "router_z": sum(layer.router_z for layer in routing) / 2,
        "router_entropy": sum(layer.entropy for layer in routing) / 2,
        "max_load": 4 * max(layer.load.max() for layer in routing),
        "dropped": sum(layer.dropped for layer in routing) / 2,
    }
    assert set(extra) == set(expected)
    for name, value in extra.items():
        torch.testing.assert_close(value, expected[name].detach(), msg=name)
        assert value > 0, name


def test_the_output_z_loss_is_a_mean_over_targets(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "mm1")
    plain, losses = next_token(model, batch), next_token(model, batch, LossConfig(output_z=0.1))
    logits = model.logits(model(batch).hidden).flatten(0, 1)[batch.target_index]
    z = logits.exp().sum(-1).log() ** 2
    torch.testing.assert_close(losses.total / losses.count, plain.total / plain.count + 0.1 * z.mean())
    torch.testing.assert_close(losses.extra["output_z"], z.mean().detach())
    assert torch.equal(losses.source_totals, plain.source_totals)
    assert plain.extra == {}


def test_a_sparse_batch_without_targets_or_tokens_costs_nothing_and_reaches_every_parameter(
    tiny: ModuleType, tmp_path: Path
) -> None:
    model, batch = batch_of(tiny, tmp_path, "moe")
    empty = replace(
        batch,
        targets=torch.full_like(batch.targets, IGNORE),
        target_index=batch.target_index[:0],
        segment_ids=torch.full_like(batch.segment_ids, -1),
    )
    losses = next_token(model, empty, LossConfig(output_z=0.1))
    losses.total.backward()
    assert losses.total == losses.count == 0
    assert all(value.isfinite() for value in losses.extra.values())
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)


def test_contrastive_is_clips_loss(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "clip", text_share=0.0)
    losses = contrastive(model, batch)
    output = model(batch)
    scores = output.logit_scale * output.image_embeddings @ output.text_embeddings.T
    own = torch.arange(batch.num_images)
    reference = (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    torch.testing.assert_close(losses.total / losses.count, reference)
    assert losses.count == batch.num_images > 1
    assert losses.extra["accuracy"] == pytest.approx(float((scores.argmax(1) == own).float().mean()))
    assert losses.extra["temperature"] == pytest.approx(0.07)
    assert losses.source_counts.sum() == batch.num_images


def test_contrastive_without_pairs_is_zero_and_reaches_every_parameter(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "clip", text_share=0.0)
    none = torch.zeros(0, dtype=torch.int64)
    empty = replace(batch, images=batch.images[:0], image_rows=none, image_segments=none)
    losses = contrastive(model, empty)
    losses.total.backward()
    assert losses.total == losses.count == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad)
