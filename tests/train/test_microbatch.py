from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.train.microbatch import LENGTHS, TILE, split, without_padding
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
    parts = split(batch, rows)
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
    assert split(batch, 6)[0] is batch


def test_without_padding_a_step_is_the_same(tiny: ModuleType, tmp_path: Path) -> None:
    """Loss, its sums by source and every gradient; rows of images and rows of text among them."""
    config = tiny.stage("moe", rows=8)
    tokenizer, sources = tiny.world_of(tmp_path)
    data = config.data.replace(seq_len=250, max_images=2)
    batch = Loader(build_plan(data, sources, 4), DocumentEncoder(tokenizer, 4, 16), sources).batch(0)
    (short,) = split(batch, 8, drop_padding=True)
    assert short.tokens.shape[0] == 1
    assert short.tokens.numel() < 0.8 * batch.tokens.numel(), "or there is nothing to drop, and this says little"
    results = []
    for one in (batch, short):
        model = config.build()
        losses = next_token(model, one)
        losses.total.backward()
        results.append((losses, {name: parameter.grad for name, parameter in model.named_parameters()}))
    (expected, gradients), (found, own) = results
    torch.testing.assert_close(found.total, expected.total)
    torch.testing.assert_close(found.source_totals, expected.source_totals)
    assert torch.equal(found.source_counts, expected.source_counts)
    assert found.count == expected.count
    torch.testing.assert_close(own, gradients, rtol=1e-3, atol=1e-4)


@given(
    st.lists(st.lists(st.integers(1, 30), max_size=4), min_size=1, max_size=5),
    st.sampled_from([120, 300, 1200]),
)
def test_without_padding_every_document_is_there_in_order(rows: list[list[int]], seq_len: int) -> None:
    batch = packed(rows, seq_len)
    short = without_padding(batch)
    total, used = batch.tokens.numel(), sum(map(sum, rows))
    assert short is batch or short.tokens.numel() < total
    assert short.tokens.numel() - used <= total / LENGTHS + TILE or short is batch
    real, before = short.segment_ids >= 0, batch.segment_ids >= 0
    for name in ("tokens", "positions", "image_index", "targets", "source_ids"):
        assert torch.equal(getattr(short, name)[real], getattr(batch, name)[before]), name
    assert torch.equal(short.target_index, (short.targets.flatten() != IGNORE).nonzero().flatten())
    if short is batch:
        return
    # Padding is padding still, and comes last.
    assert (short.tokens[~real] == 0).all()
    assert (short.targets[~real] == IGNORE).all()
    assert (real[0].int().diff() <= 0).all()
    # Documents of different rows are different documents, though both were the first of their row.
    lengths = [length for row in rows for length in row]
    assert torch.unique_consecutive(short.segment_ids[real], return_counts=True)[1].tolist() == lengths
    assert short.segment_ids[real].unique().numel() == len(lengths)
    # An image stands in the segment in which its text stands.
    assert (short.image_rows == 0).all()
    for image, segment in enumerate(short.image_segments.tolist()):
        assert short.tokens[0][short.segment_ids[0] == segment][0] == 100 + image


def packed(rows: list[list[int]], seq_len: int) -> Batch:
    """Rows of documents of those lengths, each with an image of no positions, whose first token tells which it is."""
    tokens, positions = torch.zeros(2, len(rows), seq_len, dtype=torch.long)
    segment_ids, targets = torch.full((2, len(rows), seq_len), -1)
    targets[:] = IGNORE
    image_rows, image_segments = [], []
    for row, lengths in enumerate(rows):
        start = 0
        for segment, length in enumerate(lengths):
            place = slice(start, start + length)
            tokens[row, place] = torch.arange(1, length + 1)
            tokens[row, start] = 100 + len(image_rows)
            positions[row, place] = torch.arange(length)
            segment_ids[row, place] = segment
            targets[row, start : start + length - 1] = tokens[row, start + 1 : start + length]
            image_rows.append(row)
            image_segments.append(segment)
            start += length
    return Batch(
        tokens=tokens,
        positions=positions,
        segment_ids=segment_ids,
        image_index=torch.full_like(tokens, -1),
        targets=targets,
        target_index=(targets.flatten() != IGNORE).nonzero().flatten(),
        source_ids=torch.where(segment_ids >= 0, 0, -1),
        images=torch.zeros(len(image_rows), 3, 1, 1, dtype=torch.uint8),
        image_rows=torch.tensor(image_rows, dtype=torch.long),
        image_segments=torch.tensor(image_segments, dtype=torch.long),
        image_seeds=torch.zeros(len(image_rows), dtype=torch.long),
        source_names=("pages",),
    )
