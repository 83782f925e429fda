"""Lengths are the encoder's, however they are asked for."""

from __future__ import annotations

import numpy as np

from mm1.data.encode import IMAGE_LENGTH, DocumentEncoder
from mm1.data.sources import ListSource, MeasuredSource, sum_lengths, sum_targets


def test_a_measured_source_counts_with_the_encoder(encoder: DocumentEncoder, make) -> None:
    documents = [make.web(number, number % 4) for number in range(9)]
    source = MeasuredSource(ListSource("web", documents), encoder)
    assert (source.name, len(source), source.document(3)) == ("web", 9, documents[3])
    assert source.segment_lengths(3) == encoder.segment_lengths(documents[3])
    text, images = source.totals(np.array([7, 0, 3]))
    assert images.tolist() == [3, 0, 3]
    assert (text + 4 * images + 1).tolist() == [len(encoder.encode(documents[number])) for number in (7, 0, 3)]


def test_sums_of_flat_lengths() -> None:
    lengths = np.array([IMAGE_LENGTH, 5, 7, IMAGE_LENGTH, IMAGE_LENGTH, 0])
    text, images = sum_lengths(lengths, np.array([0, 2, 2, 5, 6]))
    assert text.tolist() == [5, 0, 7, 0]
    assert images.tolist() == [1, 0, 2, 0]


def test_sums_of_flat_targets() -> None:
    lengths = np.array([IMAGE_LENGTH, 5, 0, 7, 3, 0, 4, 0])
    targets = np.array([False, True, False, True, False, True, False, True])
    counts, begins = sum_targets(lengths, targets, np.array([0, 2, 5, 7, 8, 8]))
    assert counts.tolist() == [5, 7, 0, 0, 0]
    assert begins.tolist() == [False, True, False, True, True]  # an image, a target, none, and twice EOS alone
