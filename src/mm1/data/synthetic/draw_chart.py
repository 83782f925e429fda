"""Draws a chart as a PNG with Pillow: axes with ticks, marks in their colours, labels; drawn large and made smaller.

    draw(chart, 224, random.Random(0))

Layout jitters with `rng`: margins, ground, grid, width of marks, a legend or labels at the slices of a pie. Knows
nothing of how a chart is described or asked about.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from mm1.data.synthetic import vocabulary as words
from mm1.data.synthetic.chart import STEP, Chart
from mm1.data.synthetic.fonts import font
from mm1.data.synthetic.render import encode_png

_OVERSAMPLING = 2
_INK = (40, 40, 48)
_GRID = (205, 205, 210)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """What is drawn on, and the box in which marks stand, in large pixels."""

    draw: ImageDraw.ImageDraw
    ground: tuple[int, ...]
    side: int
    left: float
    top: float
    right: float
    bottom: float

    @property
    def text_size(self) -> float:
        return max(9.0 * _OVERSAMPLING, self.side * 0.045)

    def write(self, x: float, y: float, text: str, anchor: str, size: float = 1.0) -> None:
        """`text` with the point of its `anchor`, as Pillow names it, at (x, y), on a rim of the ground's colour."""
        letters = font(round(self.text_size * size))
        rim = _OVERSAMPLING
        self.draw.text((x, y), text, _INK, letters, anchor, stroke_width=rim, stroke_fill=self.ground)


def draw(chart: Chart, side: int, rng: random.Random) -> bytes:
    """The chart as a PNG of `side` pixels a side; its words can be read from about 160 on."""
    big = side * _OVERSAMPLING
    ground = tuple(rng.randint(238, 255) for _ in range(3))
    image = PillowImage.new("RGB", (big, big), ground)
    horizontal, pie = chart.kind == "horizontal bar", chart.kind == "pie"
    canvas = _Canvas(
        draw=ImageDraw.Draw(image),
        ground=ground,
        side=big,
        left=big * ((0.2 if horizontal else 0.12) + 0.03 * rng.random()),
        top=big * (0.14 + 0.03 * rng.random()),
        right=big * ((0.88 if horizontal else 0.93) + 0.03 * rng.random()),
        bottom=big * (0.86 + 0.03 * rng.random()),
    )
    canvas.write(big / 2, big * 0.06, chart.title, "mm", size=1.2)
    if pie:
        _pie(canvas, chart, rng)
    else:
        _axes(canvas, chart, horizontal, gridded=rng.random() < 0.7)
        if chart.kind == "line":
            _line(canvas, chart, rng)
        else:
            _bars(canvas, chart, horizontal, rng)
    return encode_png(np.asarray(image.resize((side, side), PillowImage.Resampling.BOX)))


def _top_of_axis(chart: Chart) -> int:
    """The first tick at or above the largest value."""
    return -(-max(chart.values) // STEP) * STEP


def _axes(canvas: _Canvas, chart: Chart, horizontal: bool, gridded: bool) -> None:
    top = _top_of_axis(chart)
    every = STEP if top <= 6 * STEP else 2 * STEP
    width = max(1, canvas.side // 300)
    for value in range(0, top + 1, every):
        share = value / top
        if horizontal:
            x = canvas.left + share * (canvas.right - canvas.left)
            line = (x, canvas.top, x, canvas.bottom)
            canvas.write(x, canvas.bottom + canvas.side * 0.015, str(value), "ma")
        else:
            y = canvas.bottom - share * (canvas.bottom - canvas.top)
            line = (canvas.left, y, canvas.right, y)
            canvas.write(canvas.left - canvas.side * 0.015, y, str(value), "rm")
        if gridded or value == 0:
            canvas.draw.line(line, fill=_INK if value == 0 else _GRID, width=width)
    canvas.draw.line((canvas.left, canvas.top, canvas.left, canvas.bottom), fill=_INK, width=width)
    canvas.draw.line((canvas.left, canvas.bottom, canvas.right, canvas.bottom), fill=_INK, width=width)


def _bars(canvas: _Canvas, chart: Chart, horizontal: bool, rng: random.Random) -> None:
    top, count = _top_of_axis(chart), len(chart.values)
    share = rng.uniform(0.5, 0.85)  # of its place that a bar takes
    across = canvas.bottom - canvas.top if horizontal else canvas.right - canvas.left
    for index, (label, value, colour) in enumerate(zip(chart.labels, chart.values, chart.colours, strict=True)):
        middle = (index + 0.5) * across / count
        half = share * across / count / 2
        if horizontal:
            y, end = canvas.top + middle, canvas.left + value / top * (canvas.right - canvas.left)
            canvas.draw.rectangle((canvas.left, y - half, end, y + half), fill=words.COLOURS[colour], outline=_INK)
            canvas.write(canvas.left - canvas.side * 0.015, y, label, "rm")
            _write_value(canvas, chart, end + canvas.side * 0.01, y, value, "lm")
        else:
            x, end = canvas.left + middle, canvas.bottom - value / top * (canvas.bottom - canvas.top)
            canvas.draw.rectangle((x - half, end, x + half, canvas.bottom), fill=words.COLOURS[colour], outline=_INK)
            canvas.write(x, canvas.bottom + canvas.side * 0.015, label, "ma", size=_label_size(count))
            _write_value(canvas, chart, x, end - canvas.side * 0.005, value, "mb")


def _line(canvas: _Canvas, chart: Chart, rng: random.Random) -> None:
    top, count = _top_of_axis(chart), len(chart.values)
    colour, radius = words.COLOURS[chart.colours[0]], canvas.side * rng.uniform(0.01, 0.016)
    points = [
        (
            canvas.left + (index + 0.5) * (canvas.right - canvas.left) / count,
            canvas.bottom - value / top * (canvas.bottom - canvas.top),
        )
        for index, value in enumerate(chart.values)
    ]
    canvas.draw.line(points, fill=colour, width=round(radius * 0.8), joint="curve")
    for (x, y), label, value in zip(points, chart.labels, chart.values, strict=True):
        canvas.draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
        canvas.write(x, canvas.bottom + canvas.side * 0.015, label, "ma", size=_label_size(count))
        _write_value(canvas, chart, x, y - radius * 1.2, value, "mb")


def _pie(canvas: _Canvas, chart: Chart, rng: random.Random) -> None:
    legend = rng.random() < 0.5
    x, y = canvas.side * (0.36 if legend else 0.5), canvas.side * 0.55
    radius = canvas.side * (0.29 if legend else 0.27)
    angle = rng.uniform(0, 360)
    for index, (label, value, colour) in enumerate(zip(chart.labels, chart.values, chart.colours, strict=True)):
        end = angle + 3.6 * value
        box = (x - radius, y - radius, x + radius, y + radius)
        canvas.draw.pieslice(box, angle, end, fill=words.COLOURS[colour], outline=(255, 255, 255), width=_OVERSAMPLING)
        written = f"{label} {value} %" if chart.values_shown else label
        if legend:
            row, edge = canvas.side * (0.28 + 0.09 * index), canvas.side * 0.7
            size = canvas.text_size * 0.4
            canvas.draw.rectangle((edge, row - size, edge + 2 * size, row + size), fill=words.COLOURS[colour])
            canvas.write(edge + 2.6 * size, row, written, "lm", size=0.85)
        else:
            middle = math.radians((angle + end) / 2)
            away = radius * 1.12
            side = "l" if math.cos(middle) > 0.2 else "r" if math.cos(middle) < -0.2 else "m"
            canvas.write(x + away * math.cos(middle), y + away * math.sin(middle), written, f"{side}m", size=0.85)
        angle = end


def _write_value(canvas: _Canvas, chart: Chart, x: float, y: float, value: int, anchor: str) -> None:
    if chart.values_shown:
        canvas.write(x, y, str(value), anchor, size=0.9)


def _label_size(count: int) -> float:
    """Smaller where more labels stand side by side."""
    return min(1.0, 5.2 / (count + 1))
