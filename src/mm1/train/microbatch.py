"""A batch cut into microbatches by rows, on the host: what does not fit in memory at once is accumulated.

    split(batch of 8 rows, 2)  →  4 batches of 2 rows, with the images that stand in them

Knows nothing of models or losses.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mm1.types import IGNORE, Batch


def split(batch: Batch, rows: int) -> list[Batch]:
    """Batches of `rows` rows each, in order. The images of `batch` stand in row order, as the loader makes them."""
    total = batch.tokens.shape[0]
    assert total % rows == 0, f"{total} rows do not make microbatches of {rows}"
    if rows == total:
        return [batch]
    assert bool((batch.image_rows.diff() >= 0).all()), "images out of row order"
    return [_rows(batch, start, start + rows) for start in range(0, total, rows)]


def _rows(batch: Batch, start: int, stop: int) -> Batch:
    """Rows [start, stop) as a batch of their own: image numbers and flat positions count from its beginning."""
    first, last = torch.searchsorted(batch.image_rows, torch.tensor([start, stop])).tolist()
    places = batch.image_index[start:stop]
    here = places >= 0
    targets = batch.targets[start:stop]
    return replace(
        batch,
        tokens=batch.tokens[start:stop],
        positions=batch.positions[start:stop],
        segment_ids=batch.segment_ids[start:stop],
        image_index=torch.where(here, places - (places[here].min() if here.any() else 0), -1),
        targets=targets,
        target_index=(targets.flatten() != IGNORE).nonzero().flatten(),
        source_ids=batch.source_ids[start:stop],
        images=batch.images[first:last],
        image_rows=batch.image_rows[first:last] - start,
        image_segments=batch.image_segments[first:last],
        image_seeds=batch.image_seeds[first:last],
    )
