"""Batches that CUDA copies while the host goes on."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from mm1.train.run import build_loader


@pytest.mark.parametrize("num_workers", [0, 2])
def test_pinned_batches_are_the_same_batches(
    tiny: ModuleType, tmp_path: Path, cuda: torch.device, num_workers: int
) -> None:
    config = tiny.stage()
    tokenizer, sources = tiny.world_of(tmp_path, config.model.num_image_tokens)
    loader = build_loader(config, sources, tokenizer)
    pinned = list(loader.batches(0, 4, num_workers=num_workers, pin_memory=True))
    for step, batch in enumerate(pinned):
        plain, copied = loader.batch(step), batch.to(cuda)
        assert batch.source_names == plain.source_names
        for item in fields(batch):
            value = getattr(batch, item.name)
            if isinstance(value, Tensor):
                assert value.is_pinned() or not value.numel()
                assert torch.equal(value, getattr(plain, item.name))
                assert torch.equal(getattr(copied, item.name).cpu(), value)
