"""What the tests of loading share: a mixture of small rows, and when two batches are the same."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor

from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, SourceConfig
from mm1.types import Batch


def config(*names: str, rows: int = 4, **options: float) -> DataConfig:
    groups = tuple(GroupConfig(name=name, sources=(SourceConfig(name=name),)) for name in names)
    mixture = MixtureConfig(groups=groups)
    return DataConfig(mixture=mixture, seq_len=64, rows=rows, max_images=4, image_size=8, **options)


def assert_same(a: Batch, b: Batch) -> None:
    for item in fields(Batch):
        x, y = getattr(a, item.name), getattr(b, item.name)
        if isinstance(x, Tensor):
            assert x.dtype == y.dtype
            assert torch.equal(x, y), item.name
        else:
            assert x == y
