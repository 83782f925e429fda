"""What is to be read stands in the picture: whole lines within the margins, in ink that differs from its ground."""

import io
import random
from dataclasses import replace

import numpy as np
from PIL import Image as PillowImage

from mm1.data.embedded import texts
from mm1.data.synthetic.fonts import font
from mm1.data.synthetic.scenes import split_of
from mm1.data.synthetic.written import draw_writing, sample_writing

EMBEDDED = {word for document in texts() for word in document.segments[0].text.split()}


def grey(data: bytes) -> np.ndarray:
    return np.asarray(PillowImage.open(io.BytesIO(data)).convert("L")).astype(int)


def test_lines_fit_and_are_passages_of_the_embedded_text():
    for seed in range(150):
        for split in ("train", "test"):
            writing = sample_writing(random.Random(seed), split, 160)
            assert split_of(writing.text) == split
            assert writing.size >= 11
            assert all(font(writing.size).getlength(line) <= 160 - 2 * writing.margin for line in writing.lines)
            assert len(writing.lines) * writing.size * writing.spacing <= max(
                160 - 2 * writing.margin, 2 * writing.size
            )
            assert set(writing.text.split()) <= EMBEDDED


def test_ink_stands_where_lines_are_and_nowhere_else():
    """Drawn twice with the same chances, once without its words: only letters differ, and they differ clearly."""
    for seed in range(40):
        writing = sample_writing(random.Random(seed), "train", 192)
        blank = replace(writing, lines=("",) * len(writing.lines))
        shown, empty = (grey(draw_writing(page, random.Random(seed))) for page in (writing, blank))
        difference = np.abs(shown - empty)
        assert difference.max() > 80
        rows, columns = np.nonzero(difference > 60)
        assert columns.min() >= writing.margin - 8
        assert columns.max() <= 192 - writing.margin + 8
        assert np.ptp(rows) >= (len(writing.lines) - 1) * writing.size  # from the first line to the last


def test_a_page_is_drawn_alike_every_time():
    writing = sample_writing(random.Random(3), "train", 224)
    assert draw_writing(writing, random.Random(5)) == draw_writing(writing, random.Random(5))
    assert draw_writing(writing, random.Random(5)) != draw_writing(writing, random.Random(6))
