"""The batch that plans are made for: rows of one document each, as many images as they may hold, then text.

    full_batch(stage, rows=4).num_images         # 4 rows' worth

Knows nothing of what is done with it.
"""

from __future__ import annotations

import torch

from mm1.train.costs import images_per_sequence
from mm1.train.stage import StageConfig
from mm1.types import IGNORE, Batch


def full_batch(stage: StageConfig, rows: int) -> Batch:
    """`rows` rows of full sequences: images first, then text; in memory, or without any under FakeTensorMode."""
    length, images, each = stage.data.seq_len, images_per_sequence(stage), stage.model.num_image_tokens
    column = torch.arange(length)
    index = torch.where(column < images * each, column, -1).repeat(rows, 1)
    if images:
        offset = torch.arange(rows)[:, None] * (images * each)
        index = torch.where(index >= 0, index + offset, -1)
    is_target = (column >= max(0, images * each - 1)) & (column < length - 1)
    targets = torch.where(is_target, 1, IGNORE).repeat(rows, 1)
    first = max(0, images * each - 1)
    target_index = (torch.arange(rows)[:, None] * length + torch.arange(first, length - 1)).flatten()
    size = stage.data.image_size
    return Batch(
        tokens=torch.ones(rows, length, dtype=torch.int64),
        positions=column.repeat(rows, 1),
        segment_ids=torch.zeros(rows, length, dtype=torch.int64),
        image_index=index,
        targets=targets,
        target_index=target_index,
        source_ids=torch.zeros(rows, length, dtype=torch.int64),
        images=torch.zeros(rows * images, 3, size, size, dtype=torch.uint8),
        image_rows=torch.arange(rows).repeat_interleave(images, output_size=rows * images),
        image_segments=torch.zeros(rows * images, dtype=torch.int64),
        image_seeds=torch.zeros(rows * images, dtype=torch.int64),
        source_names=("full",),
    )
