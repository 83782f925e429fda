from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.train.microbatch import LENGTHS, TILE, split, trimmed
from mm1.train.objectives import contrastive, next_token
from mm1.types import IGNORE, Batch


@pytest.fixture
def loader(tiny: ModuleType, tmp_path: Path) -> Loader:
    config = tiny.stage(rows=6)
    tokenizer, sources = tiny.world_of(tmp_path)
    return Loader(build_plan(config.data, sources, 4), DocumentEncoder(tokenizer, 4, 16), sources)


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_microbatches_are_what_the_rows_are_alone(tiny: ModuleType, loader: Loader, rows: int) -> None:
    model = tiny.stage().build()
    batch = loader.batch(0)
    hidden = model(batch).hidden
    parts = split(batch, 6 // rows)
    assert len(parts) == 6 // rows
    torch.testing.assert_close(torch.cat([model(part).hidden for part in parts]), hidden, rtol=1e-4, atol=1e-5)
    whole, cut = next_token(model, batch), [next_token(model, part) for part in parts]
    torch.testing.assert_close(sum(part.total for part in cut), whole.total)
    assert sum(part.count for part in cut) == whole.count
    assert torch.equal(torch.cat([part.images for part in parts]), batch.images)
    assert torch.equal(torch.cat([part.image_seeds for part in parts]), batch.image_seeds)


def test_image_rows_and_segments_stay_with_their_text(tiny: ModuleType, tmp_path: Path) -> None:
    config = tiny.stage("clip", rows=4, text_share=0.0)
    tokenizer, sources = tiny.world_of(tmp_path, 1)
    plan = build_plan(config.data, sources, 1, pairs=True)
    batch = Loader(plan, DocumentEncoder(tokenizer, 1, 16), sources).batch(0)
    model = config.build()
    parts = [model(part).text_embeddings for part in split(batch, 2)]
    torch.testing.assert_close(torch.cat(parts), model(batch).text_embeddings, rtol=1e-4, atol=1e-5)
    assert sum(float(contrastive(model, part).count) for part in split(batch, 2)) == batch.num_images


def test_a_batch_of_the_right_size_is_not_touched(loader: Loader) -> None:
    batch = loader.batch(0)
    assert split(batch, 1)[0] is batch


def test_trimmed_a_step_is_the_same(tiny: ModuleType, tmp_path: Path) -> None:
    """Loss, its sums by source and every gradient; rows of images and rows of text among them."""
    config = tiny.stage("moe", rows=4)
    tokenizer, sources = tiny.world_of(tmp_path)
    data = config.data.replace(seq_len=700, max_images=2)
    batch = Loader(build_plan(data, sources, 4), DocumentEncoder(tokenizer, 4, 16), sources).batch(0)
    batch = replace(batch, **padded(batch))
    parts = split(batch, 2, trim=True)
    assert all(part.tokens.shape[1] < 800 for part in parts), "or there is nothing to trim, and this says little"
    results = []
    for microbatches in (split(batch, 2), parts):
        model = config.build()
        losses = [next_token(model, part) for part in microbatches]
        for one in losses:
            one.total.backward()
        results.append((losses, {name: parameter.grad for name, parameter in model.named_parameters()}))
    (expected, gradients), (found, own) = results
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.total, other.total)
        torch.testing.assert_close(one.source_totals, other.source_totals)
        assert torch.equal(one.source_counts, other.source_counts)
        assert one.count == other.count
    torch.testing.assert_close(own, gradients, rtol=1e-3, atol=1e-4)


def padded(batch: Batch) -> dict[str, torch.Tensor]:
    """The tensors of rows with 300 positions more of padding."""
    fills = {"tokens": 0, "positions": 0, "segment_ids": -1, "image_index": -1, "targets": IGNORE, "source_ids": -1}
    longer = {name: F.pad(getattr(batch, name), (0, 300), value=fill) for name, fill in fills.items()}
    return {**longer, "target_index": (longer["targets"].flatten() != IGNORE).nonzero().flatten()}


@given(
    st.lists(st.integers(0, 1000), min_size=1, max_size=4),
    st.integers(1000, 5000),
)
def test_what_is_cut_off_is_padding_and_lengths_are_few(lengths: list[int], seq_len: int) -> None:
    columns = torch.arange(seq_len).expand(len(lengths), -1)
    segment_ids = torch.where(columns < torch.tensor(lengths)[:, None], 0, -1)
    targets = torch.where(segment_ids < 0, IGNORE, columns)
    nothing = torch.zeros(0, dtype=torch.long)
    batch = Batch(
        tokens=columns,
        positions=columns,
        segment_ids=segment_ids,
        image_index=torch.full_like(columns, -1),
        targets=targets,
        target_index=(targets.flatten() != IGNORE).nonzero().flatten(),
        source_ids=segment_ids,
        images=torch.zeros(0, 3, 1, 1, dtype=torch.uint8),
        image_rows=nothing,
        image_segments=nothing,
        image_seeds=nothing,
        source_names=("pages",),
    )
    short = trimmed(batch)
    length = short.tokens.shape[1]
    for name in ("tokens", "positions", "segment_ids", "image_index", "targets", "source_ids"):
        assert torch.equal(getattr(short, name), getattr(batch, name)[:, :length]), name
    assert (batch.segment_ids[:, length:] == -1).all()
    assert torch.equal(short.target_index, (short.targets.flatten() != IGNORE).nonzero().flatten())
    assert length == seq_len or length % TILE == 0
    assert length <= max(lengths) + seq_len / LENGTHS + TILE
