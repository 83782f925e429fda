from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F

from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.train.objectives import contrastive, next_token
from mm1.types import IGNORE, Batch


def batch_of(tiny: ModuleType, folder: Path, model: str, **changes: object) -> tuple[torch.nn.Module, Batch]:
    config = tiny.stage(model, **changes)
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
