"""Packed batches of random documents, as the loader would make them."""

from collections.abc import Callable, Sequence

import pytest
import torch

from mm1.types import IGNORE, Batch

MakeBatch = Callable[..., Batch]


def _make_batch(
    rows: Sequence[Sequence[tuple[int, int]]],
    num_image_tokens: int = 4,
    image_size: int = 16,
    vocab_size: int = 64,
    length: int | None = None,
    seed: int = 0,
) -> Batch:
    """Rows of documents, each (images, text tokens): images first, then the text; padded to `length`."""
    generator = torch.Generator().manual_seed(seed)
    lengths = [sum(images * num_image_tokens + text for images, text in row) for row in rows]
    width = length or max(lengths)
    shape = (len(rows), width)
    tokens, segments = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    positions, image_index = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    image_rows: list[int] = []
    image_segments: list[int] = []
    for row, documents in enumerate(rows):
        column = 0
        for segment, (images, text) in enumerate(documents):
            size = images * num_image_tokens + text
            here = slice(column, column + size)
            tokens[row, here] = torch.randint(3, vocab_size, (size,), generator=generator)
            segments[row, here] = segment
            positions[row, here] = torch.arange(size)
            first = len(image_rows) * num_image_tokens
            image_index[row, column : column + images * num_image_tokens] = torch.arange(
                first, first + images * num_image_tokens
            )
            tokens[row, column : column + images * num_image_tokens] = 1
            image_rows += [row] * images
            image_segments += [segment] * images
            column += size
    images_shape = (len(image_rows), 3, image_size, image_size)
    return Batch(
        tokens=tokens,
        positions=positions,
        segment_ids=segments,
        image_index=image_index,
        targets=torch.full(shape, IGNORE),
        target_index=torch.zeros(0, dtype=torch.long),
        source_ids=segments.clamp(max=0),
        images=torch.randint(0, 256, images_shape, dtype=torch.uint8, generator=generator),
        image_rows=torch.tensor(image_rows, dtype=torch.long),
        image_segments=torch.tensor(image_segments, dtype=torch.long),
        image_seeds=torch.randint(0, 2**62, (len(image_rows),), generator=generator),
        source_names=("source",),
    )


@pytest.fixture
def make_batch() -> MakeBatch:
    """See `_make_batch`."""
    return _make_batch
