"""Samples side by side in rows, as the tensors of a Batch.

    row 0:   | document A . . . | document B . . | pad |        segment_ids 0 0 0 0 1 1 1 -1, positions restart
    targets: the next token, where it is of the same segment and counts toward the loss

Knows nothing of where samples come from.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from mm1.data.encode import DocumentEncoder
from mm1.data.order import drawn
from mm1.types import IGNORE, Batch, Sample


def collate(
    rows: Sequence[Sequence[Sample]], seq_len: int, encoder: DocumentEncoder, source_names: tuple[str, ...]
) -> Batch:
    """Packs `rows` of samples, B = len(rows), S = `seq_len`, padding at the end of each row.

    Every sample's `source` is one of `source_names`; the samples of a row are at most `seq_len` tokens together.
    """
    shape = (len(rows), seq_len)
    tokens = np.full(shape, encoder.tokenizer.pad_id, np.int64)
    segment_ids, source_ids = np.full(shape, -1, np.int64), np.full(shape, -1, np.int64)
    loss_mask = np.zeros(shape, bool)
    images: list[np.ndarray] = []
    image_rows: list[int] = []
    image_segments: list[int] = []
    seeds: list[np.ndarray] = []
    for row, samples in enumerate(rows):
        column = segment = 0
        for sample in samples:
            place = slice(column, column + len(sample))
            tokens[row, place] = sample.tokens
            loss_mask[row, place] = sample.loss_mask
            segment_ids[row, place] = sample.segment_ids + segment
            source_ids[row, place] = source_names.index(sample.source)
            images += sample.images
            image_rows += [row] * len(sample.images)
            image_segments += (sample.image_segments + segment).tolist()
            column += len(sample)
            segment += int(sample.segment_ids[-1]) + 1 if len(sample) else 0
            seeds.append(drawn(len(sample.images), sample.key))
    targets = _targets(tokens, segment_ids, loss_mask)
    return Batch(
        tokens=torch.from_numpy(tokens),
        positions=torch.from_numpy(_positions(segment_ids)),
        segment_ids=torch.from_numpy(segment_ids),
        image_index=torch.from_numpy(_image_index(tokens, len(images), encoder)),
        targets=torch.from_numpy(targets),
        target_index=torch.from_numpy(np.flatnonzero(targets != IGNORE)),
        source_ids=torch.from_numpy(source_ids),
        images=torch.from_numpy(_stack(images, encoder.image_size)),
        image_rows=torch.tensor(image_rows, dtype=torch.int64),
        image_segments=torch.tensor(image_segments, dtype=torch.int64),
        image_seeds=torch.from_numpy(np.concatenate([np.empty(0, np.int64), *seeds])),
        source_names=source_names,
    )


def _targets(tokens: np.ndarray, segment_ids: np.ndarray, loss_mask: np.ndarray) -> np.ndarray:
    """(B, S): the next token where it counts and is of the same segment, IGNORE elsewhere. The token after an image
    counts; an image's own positions never do, for they are not in the loss mask.
    """
    targets = np.full_like(tokens, IGNORE)
    counts = (segment_ids[:, 1:] == segment_ids[:, :-1]) & loss_mask[:, 1:]
    targets[:, :-1][counts] = tokens[:, 1:][counts]
    return targets


def _positions(segment_ids: np.ndarray) -> np.ndarray:
    """(B, S): 0, 1, … from the start of each segment; 0 on padding."""
    columns = np.broadcast_to(np.arange(segment_ids.shape[1]), segment_ids.shape)
    begins = np.ones(segment_ids.shape, bool)
    begins[:, 1:] = segment_ids[:, 1:] != segment_ids[:, :-1]
    starts = np.maximum.accumulate(np.where(begins, columns, 0), axis=1)
    return np.where(segment_ids < 0, 0, columns - starts)


def _image_index(tokens: np.ndarray, num_images: int, encoder: DocumentEncoder) -> np.ndarray:
    """(B, S): number of the image token that stands here, counted over the batch's images in order; -1 elsewhere."""
    stands = tokens == encoder.tokenizer.image_id
    count = int(np.count_nonzero(stands))
    assert count == num_images * encoder.num_image_tokens, f"{count} image positions for {num_images} images"
    index = np.full_like(tokens, -1)
    index[stands] = np.arange(count)
    return index


def _stack(images: list[np.ndarray], size: int) -> np.ndarray:
    """(I, 3, H, W) uint8, contiguous; I = 0 gives an ordinary, empty array."""
    if not images:
        return np.empty((0, 3, size, size), np.uint8)
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))
