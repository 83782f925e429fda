from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
import transformers

from mm1.config import override
from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.models.clip import CLIPOutput
from mm1.train.microbatch import split
from mm1.train.objectives import LossConfig, autoregressive_pixels, build_objective, contrastive, next_token
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


def test_next_token_rounds_logits_and_nothing_behind_them_under_autocast(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "mm1")
    with torch.autocast("cpu", torch.bfloat16):
        losses = next_token(model, batch)
        chosen = model(batch).hidden.flatten(0, 1)[batch.target_index]
        logits = F.linear(chosen, model.output_weight)
    reference = F.cross_entropy(logits.double(), batch.targets.flatten()[batch.target_index], reduction="sum")
    assert logits.dtype == torch.bfloat16
    assert losses.total.dtype == torch.float32
    torch.testing.assert_close(losses.total.double(), reference, rtol=1e-6, atol=0)


def test_next_token_reaches_a_matrix_that_is_also_the_embedding(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "mm1")
    config = tiny.MODELS["mm1"].replace(decoder=tiny.DECODER.replace(tied_embeddings=not tiny.DECODER.tied_embeddings))
    for each in (model, tiny.stage().replace(model=config).build()):
        logits = each.logits(each(batch).hidden).flatten(0, 1)
        plain = F.cross_entropy(logits, batch.targets.flatten(), ignore_index=IGNORE, reduction="sum")
        wanted = torch.autograd.grad(plain, each.decoder.embedding.weight)[0]
        given = torch.autograd.grad(next_token(each, batch).total, each.decoder.embedding.weight)[0]
        torch.testing.assert_close(given, wanted)


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
    plain, losses = next_token(model, batch), build_objective("next_token", LossConfig(output_z=0.1))(model, batch)
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


def test_contrastive_is_the_loss_and_gradient_of_transformers_clip(tiny: ModuleType, tmp_path: Path) -> None:
    """Of the same embeddings, which its own towers make. Worst difference: 1.5e-5, of a gradient; the loss to 1e-6."""
    _, batch = batch_of(tiny, tmp_path, "clip", text_share=0.0)
    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.CLIPConfig(
        vision_config={**shape, "image_size": 16, "patch_size": 8},
        text_config={**shape, "vocab_size": 32, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2},
        projection_dim=8,
    )
    torch.manual_seed(0)
    peer = transformers.CLIPModel(config).eval()
    ids = torch.cat(
        [torch.randint(3, 32, (batch.num_images, 6)), torch.ones(batch.num_images, 1, dtype=torch.int64)], 1
    )
    theirs = peer(input_ids=ids, pixel_values=torch.randn(batch.num_images, 3, 16, 16), return_loss=True)
    output = CLIPOutput(theirs.image_embeds, theirs.text_embeds, peer.logit_scale.exp())
    losses = contrastive(lambda batch: output, batch)  # type: ignore[arg-type]
    torch.testing.assert_close(losses.total / losses.count, theirs.loss, atol=1e-5, rtol=0)
    parameters = [parameter for parameter in peer.parameters() if parameter.dim() < 3]
    wanted = torch.autograd.grad(theirs.loss, parameters, retain_graph=True, allow_unused=True)
    given = torch.autograd.grad(losses.total / losses.count, parameters, allow_unused=True)
    for one, other in zip(given, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_autoregressive_pixels_is_the_mean_squared_error_of_predicted_patches(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "aim")
    losses = autoregressive_pixels(model, batch)
    predictions, targets, predicted = model(batch)
    assert not predicted.all()
    reference = [F.mse_loss(predictions[i, j], targets[i, j]) for i, j in predicted.nonzero().tolist()]
    torch.testing.assert_close(losses.total, torch.stack(reference).sum())
    assert losses.count == len(reference) > batch.num_images
    torch.testing.assert_close(losses.source_totals.sum(), losses.total.detach())
    captions = batch.source_names.index("captions")
    assert losses.source_counts[captions] == losses.count


def test_autoregressive_pixels_compares_in_float32_under_autocast(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "aim")
    with torch.autocast("cpu", torch.bfloat16):
        losses = autoregressive_pixels(model, batch)
        predictions, targets, predicted = model(batch)
    assert predictions.dtype == torch.bfloat16
    reference = (predictions.double() - targets.double()).square().mean(-1)[predicted].sum()
    torch.testing.assert_close(losses.total.double(), reference, rtol=1e-5, atol=0)
    assert losses.count.dtype == torch.float32


def test_autoregressive_pixels_does_not_care_how_rows_are_cut(tiny: ModuleType, tmp_path: Path) -> None:
    model, batch = batch_of(tiny, tmp_path, "aim")
    whole, parts = autoregressive_pixels(model, batch), [autoregressive_pixels(model, part) for part in split(batch, 4)]
    assert len(parts) == 4
    assert sum(part.count for part in parts) == whole.count
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)


def test_autoregressive_pixels_without_images_is_zero_and_reaches_every_parameter(
    tiny: ModuleType, tmp_path: Path
) -> None:
    model, batch = batch_of(tiny, tmp_path, "aim")
    none = torch.zeros(0, dtype=torch.int64)
    empty = replace(batch, images=batch.images[:0], image_rows=none, image_segments=none, image_seeds=none)
    losses = autoregressive_pixels(model, empty)
    losses.total.backward()
    assert losses.total == losses.count == 0
    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())
