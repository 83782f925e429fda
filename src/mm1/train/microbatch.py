"""A batch cut into microbatches by rows, on the host: what does not fit in memory at once is accumulated.

    split(batch of 8 rows, 2)           4 batches of 2 rows, with the images that stand in them

    a a a . .    without_padding        a a a b b c c c c . . .
    b b c c c  ──────────────────→      one row; its length one of few
    c . . . .

Padding has no part in attention or loss, but the layers of a decoder would run over it: over a seventh of the positions
in MM1's mixture, whose rows of captions are full of images before they are full of tokens. Knows nothing of models or
losses.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mm1.types import IGNORE, Batch

TILE = 128
"""Lengths of rows without padding are multiples of it: what attention's kernels on GPUs work in."""
LENGTHS = 16
"""So many lengths there are at most: a compiler meets few, and a step computes at most a sixteenth of padding."""


def split(batch: Batch, rows: int, *, drop_padding: bool = False) -> list[Batch]:
    """Batches of `rows` rows each, in order, or of one row without their padding. In pinned memory if `batch` is.

    The images of `batch` stand in row order, as the loader makes them.
    """
    total = batch.tokens.shape[0]
    assert total % rows == 0, f"{total} rows do not make microbatches of {rows}"
    parts = [batch]
    if rows < total:
        assert bool((batch.image_rows.diff() >= 0).all()), "images out of row order"
        parts = [_rows(batch, start, start + rows) for start in range(0, total, rows)]
    if drop_padding:
        parts = [without_padding(part) for part in parts]
    return [part.pin_memory() for part in parts] if batch.tokens.is_pinned() else parts


def without_padding(batch: Batch) -> Batch:
    """The documents of all rows in one, one behind the other, and no more padding than makes its length one of few.

    The batch itself where that would save nothing.
    """
    places = batch.segment_ids.numel()
    step = -(-places // (LENGTHS * TILE)) * TILE
    real = (batch.segment_ids >= 0).flatten()
    used = int(real.sum())
    length = max(1, -(-used // step)) * step
    if length >= places:
        return batch
    taken = torch.cat([real.nonzero().flatten(), (~real).nonzero().flatten()[: length - used]])
    # A row's segments count on where those of the rows before it ended.
    ends = batch.segment_ids.amax(1) + 1
    first = ends.cumsum(0) - ends
    targets = batch.targets.flatten()[taken]
    segment_ids = torch.where(batch.segment_ids >= 0, batch.segment_ids + first[:, None], -1)
    return replace(
        batch,
        tokens=batch.tokens.flatten()[taken][None],
        positions=batch.positions.flatten()[taken][None],
        segment_ids=segment_ids.flatten()[taken][None],
        image_index=batch.image_index.flatten()[taken][None],
        targets=targets[None],
        target_index=(targets != IGNORE).nonzero().flatten(),
        source_ids=batch.source_ids.flatten()[taken][None],
        image_rows=torch.zeros_like(batch.image_rows),
        image_segments=batch.image_segments + first[batch.image_rows],
    )


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
