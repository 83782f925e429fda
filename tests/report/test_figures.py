"""Drawings take the page's colours, keep gaps, and stay small."""

from __future__ import annotations

import math
import re

import numpy as np

from mm1.report.figures import MOST_POINTS, Line, chart, histogram
from mm1.report.markup import count


def paths(drawing: str, colour: str) -> list[str]:
    return re.findall(rf'<path d="([^"]*)"[^>]*stroke: var\(--{colour}\)', drawing)


def test_colours_are_the_pages_and_nothing_is_named_twice() -> None:
    one, two = (
        chart([Line(x=[0, 1], y=[0, 1], low=[0, 0], high=[1, 2], marks=True)], label=label) for label in ("a", "b")
    )
    assert "var(--c0)" in one
    assert not re.findall("#[0-9a-f]{6}", one)
    assert set(re.findall('id="([^"]*)"', one)).isdisjoint(re.findall('id="([^"]*)"', two))
    assert "<style" not in one
    assert "<svg" not in chart([], label="<svg>")[4:]


def test_a_long_line_is_drawn_by_its_means_and_gaps_stay() -> None:
    values = np.arange(10_000.0)
    (drawn,) = paths(chart([Line(x=values, y=values)], label="long"), "c0")
    assert 2 <= len(re.findall("[ML]", drawn)) <= MOST_POINTS
    (drawn,) = paths(chart([Line(x=[0, 1, 2, 3, 4], y=[0, 1, math.nan, 3, 5])], label="gap"), "c0")
    assert drawn.count("M") == 2


def test_a_point_that_no_line_leads_to_is_marked() -> None:
    def marks(y: list[float]) -> int:
        drawn = chart([Line(x=list(range(len(y))), y=y)], label="points")
        return len(re.findall(r"<use [^>]*fill: var\(--c0\)", drawn))

    nothing = math.nan
    assert marks([1.0, 2.0, nothing, 3.0, 4.0]) == 0
    assert marks([nothing, 2.0, nothing]) == 1
    assert marks([1.0, nothing, 2.0, 3.0, nothing, 4.0]) == 2


def test_a_long_line_of_few_points_is_drawn_by_those_it_has() -> None:
    few = [float(number // 3 % 2) if number % 3 == 0 else math.nan for number in range(3 * MOST_POINTS)]
    (drawn,) = paths(chart([Line(x=range(len(few)), y=few)], label="few"), "c0")
    assert drawn.count("M") == 1
    assert len(re.findall("[ML]", drawn)) > MOST_POINTS / 4


def test_a_histogram_draws_each_count_and_marks_whole_numbers() -> None:
    drawn = histogram([1, 10, 100, 1000], [2, 0, 3], label="sizes", log=True)
    assert "var(--c0)" in drawn
    assert "1.5" not in re.findall(r">([^<]*)</text>", drawn)
    marks = re.findall(r">([^<]*)</text>", histogram([1500, 3000, 12000], [1, 2], label="narrow", log=True))
    assert {count(2000), count(5000)} <= set(marks)
