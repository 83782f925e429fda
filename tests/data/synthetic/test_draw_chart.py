"""The picture has the numbers in it: lengths of bars, places of points, areas of slices."""

import io
import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image as PillowImage

from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.chart import Chart, sample_chart
from mm1.data.synthetic.draw_chart import draw

SIDE = 224
COLOURS = ("red", "green", "blue")


def drawn(chart: Chart, seed: int = 0, side: int = SIDE) -> np.ndarray:
    image = PillowImage.open(io.BytesIO(draw(chart, side, random.Random(seed))))
    assert (image.size, image.mode) == ((side, side), "RGB")
    return np.asarray(image).astype(int)


def where(pixels: np.ndarray, colour: str) -> np.ndarray:
    """(H, W) bool: pixels that are nearly of the colour."""
    return np.abs(pixels - words.COLOURS[colour]).max(axis=2) < 12


def chart(kind: str, values: tuple[int, ...], colours: tuple[str, ...] = COLOURS) -> Chart:
    return Chart(kind, "coins per city", ("rome", "oslo", "lima"), values, colours, values_shown=False)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["bar", "horizontal bar"])
def test_bars_are_as_long_as_their_values(kind, seed):
    values = (20, 60, 45)
    pixels = drawn(chart(kind, values), seed)
    axis = 1 if kind == "horizontal bar" else 0
    lengths = [np.flatnonzero(where(pixels, colour).any(axis=1 - axis)).size for colour in COLOURS]
    for length, value in zip(lengths, values, strict=True):
        assert length / lengths[1] == pytest.approx(value / 60, abs=0.03)
    # In the order of the labels, from the left or from the top.
    centres = [np.flatnonzero(where(pixels, colour).any(axis=axis)).mean() for colour in COLOURS]
    assert centres == sorted(centres)


def test_a_line_goes_through_its_values():
    pixels = drawn(chart("line", (10, 90, 50), ("red",) * 3))
    rows, columns = np.nonzero(where(pixels, "red"))
    left, right = rows[columns <= columns.min() + 2], rows[columns >= columns.max() - 2]
    top, low = rows.min(), left.mean()
    assert (low - right.mean()) / (low - top) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("seed", range(3))
def test_slices_have_their_share_of_the_pie(seed):
    values = (15, 60, 25)
    pixels = drawn(chart("pie", values), seed)
    areas = np.array([where(pixels, colour).sum() for colour in COLOURS])
    # A legend has small squares in the same colours.
    assert areas / areas.sum() == pytest.approx(np.array(values) / 100, abs=0.04)
    # Together they are a whole disc, but for the lines between them.
    rows = np.flatnonzero(np.any([where(pixels, colour).sum(axis=1) > 3 for colour in COLOURS], axis=0))
    assert areas.sum() > 0.9 * np.pi / 4 * np.ptp(rows) ** 2


def test_values_are_written_where_they_are_shown():
    silent = chart("bar", (20, 60, 45))
    assert (drawn(silent) != drawn(replace(silent, values_shown=True))).any()


@pytest.mark.parametrize("side", [64, 224])
def test_every_chart_can_be_drawn_at_any_size_and_always_alike(side):
    for seed in range(12):
        one = sample_chart(random.Random(seed), "train")
        np.testing.assert_array_equal(drawn(one, seed, side), drawn(one, seed, side))
        assert drawn(one, seed, side).std() > 5


def test_nothing_is_written_over_the_edge():
    """The outermost pixels show the ground alone."""
    for seed in range(60):
        pixels = drawn(sample_chart(random.Random(seed), "train"), seed)
        edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edges == pixels[0, 0]).all(), seed
