"""Rows as tensors: nothing is predicted across documents, nothing from nothing, no image position ever."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from mm1.data.collate import collate
from mm1.data.encode import DocumentEncoder
from mm1.types import IGNORE, Document, Text

NAMES = ("captions", "web", "text")


def test_by_hand(encoder: DocumentEncoder, make) -> None:
    a, b = encoder.tokenizer.encode("a red")
    (c,) = encoder.tokenizer.encode("a")
    image, eos, pad = encoder.tokenizer.image_id, encoder.tokenizer.eos_id, encoder.tokenizer.pad_id
    first = encoder.encode(Document("d", (Text("a red", target=False), make.picture(9), Text("a")), "web"))
    second = encoder.encode(Document("e", (Text("a"),), "text"))
    batch = collate([[first, second]], 12, encoder, NAMES)
    assert batch.tokens.tolist() == [[a, b, image, image, image, image, c, eos, c, eos, pad, pad]]
    assert batch.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 0, 0]]
    assert batch.segment_ids.tolist() == [[0] * 8 + [1, 1, -1, -1]]
    assert batch.image_index.tolist() == [[-1, -1, 0, 1, 2, 3] + [-1] * 6]
    assert batch.source_ids.tolist() == [[1] * 8 + [2, 2, -1, -1]]
    # The text after the image is predicted from the image's last position; the next document's first token never.
    no = IGNORE
    assert batch.targets.tolist() == [[no, no, no, no, no, c, eos, no, eos, no, no, no]]
    assert batch.target_index.tolist() == [5, 6, 8]
    assert (batch.image_rows.tolist(), batch.image_segments.tolist()) == ([0], [0])
    assert batch.images.shape == (1, 3, 8, 8)
    assert batch.images[0, :, 0, 0].tolist() == [9, 0, 7]


def test_a_batch_without_images_is_ordinary(encoder: DocumentEncoder, make) -> None:
    batch = collate([[encoder.encode(make.text(1))], []], 64, encoder, NAMES)
    assert batch.images.shape == (0, 3, 8, 8)
    assert batch.images.dtype == torch.uint8
    assert (batch.image_rows.shape, batch.image_rows.dtype) == ((0,), torch.int64)
    assert (batch.image_segments.shape, batch.image_segments.dtype) == ((0,), torch.int64)
    assert (batch.image_index == -1).all()
    assert (batch.segment_ids[1] == -1).all()


def test_every_tensor_has_its_dtype(encoder: DocumentEncoder, make) -> None:
    batch = collate([[encoder.encode(make.web(1, 2))]], 64, encoder, NAMES)
    names = ["tokens", "positions", "segment_ids", "image_index", "targets", "target_index", "source_ids"]
    assert {getattr(batch, name).dtype for name in [*names, "image_rows", "image_segments"]} == {torch.int64}
    assert batch.images.is_contiguous()


@given(layout=st.lists(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3)), max_size=3), min_size=1, max_size=4))
def test_a_batch_keeps_every_sample_apart(encoder: DocumentEncoder, make, layout: list[list[tuple[int, int]]]) -> None:
    rows = [[encoder.encode(make.web(number, count)) for number, count in row] for row in layout]
    batch = collate(rows, 200, encoder, NAMES)
    flat, pictures = batch.tokens.flatten(), 0
    for row, samples in enumerate(rows):
        for segment, sample in enumerate(samples):
            here = batch.segment_ids[row] == segment
            np.testing.assert_array_equal(batch.tokens[row][here], sample.tokens)
            assert batch.positions[row][here].tolist() == list(range(len(sample)))
            expected = np.where(sample.loss_mask[1:], sample.tokens[1:], IGNORE)
            assert batch.targets[row][here].tolist() == [*expected.tolist(), IGNORE]
            stands = batch.image_index[row][here]
            first = stands[torch.from_numpy(sample.image_starts).long()]
            assert first.tolist() == [4 * (pictures + k) for k in range(len(sample.images))]
            for k, image in enumerate(sample.images):
                assert (batch.image_rows[pictures + k], batch.image_segments[pictures + k]) == (row, segment)
                np.testing.assert_array_equal(batch.images[pictures + k].permute(1, 2, 0), image)
            pictures += len(sample.images)
        assert (batch.segment_ids[row] == -1).sum() == 200 - sum(len(sample) for sample in samples)
    assert pictures == batch.num_images
    placed = batch.image_index[batch.image_index >= 0]
    assert placed.tolist() == list(range(4 * pictures))
    assert (flat[batch.target_index + 1] == batch.targets.flatten()[batch.target_index]).all()
    assert len(batch.target_index) == (batch.targets != IGNORE).sum()
    assert not (batch.targets == encoder.tokenizer.image_id).any()
