"""A batch cut into microbatches by rows, on the host: what does not fit in memory at once is accumulated.

    split(batch of 8 rows, 4)               4 batches of 2 rows, with the images that stand in them
    split(batch of 8 rows, 4, trim=True)    and no longer than their longest row

Padding has no part in attention or loss, but the layers of a decoder would run over it: over a seventh of the positions
in MM1's mixture, whose rows of captions are full of images before they are full of tokens. Knows nothing of models or
losses.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from mm1.types import IGNORE, Batch

TILE = 128
"""Lengths of trimmed rows are multiples of it: what attention's kernels on GPUs work in."""
LENGTHS = 16
"""So many lengths there are at most: a compiler meets few, and a step computes at most a sixteenth of padding."""


def split(batch: Batch, microbatches: int, *, trim: bool = False) -> list[Batch]:
    """Batches of equal numbers of rows, in order. In pinned memory if `batch` is.

    Args:
        batch: its images stand in row order, as the loader makes them; its padding at the end of each row.
        microbatches: how many; they divide its rows.
        trim: cut off what is padding in all rows of a microbatch, but for what makes its length one of few.
    """
    total = batch.tokens.shape[0]
    assert total % microbatches == 0, f"{total} rows do not make {microbatches} microbatches"
    parts = [batch]
    if microbatches > 1:
        assert bool((batch.image_rows.diff() >= 0).all()), "images out of row order"
        rows = total // microbatches
        parts = [_rows(batch, start, start + rows) for start in range(0, total, rows)]
    if trim:
        parts = [trimmed(part) for part in parts]
    return [part.pin_memory() for part in parts] if batch.tokens.is_pinned() else parts


def trimmed(batch: Batch) -> Batch:
    """The batch as long as its longest row, up to the next of a few lengths; itself if that is what it is."""
    seq_len = batch.tokens.shape[1]
    step = -(-seq_len // (LENGTHS * TILE)) * TILE
    used = int((batch.segment_ids >= 0).any(0).sum())
    length = max(1, -(-used // step)) * step
    if length >= seq_len:
        return batch
    targets = batch.targets[:, :length]
    return replace(
        batch,
        tokens=batch.tokens[:, :length],
        positions=batch.positions[:, :length],
        segment_ids=batch.segment_ids[:, :length],
        image_index=batch.image_index[:, :length],
        targets=targets,
        target_index=(targets.flatten() != IGNORE).nonzero().flatten(),
        source_ids=batch.source_ids[:, :length],
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
