from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest
import torch

from mm1.data.encode import DocumentEncoder
from mm1.data.loader import Loader
from mm1.data.plan import build_plan
from mm1.train.microbatch import split
from mm1.train.objectives import contrastive, next_token


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
