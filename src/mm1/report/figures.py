"""Line charts and histograms as inline SVG that takes its colours from the page: one drawing serves light and dark.

    chart([Line(x=[0, 4, 8], y=[.26, .91, .89], low=…, high=…)], label="score against shots", y_limits=(0, 1))
    histogram([1, 10, 100], [4, 9], label="characters a page", log=True)

A figure holds numbers only: names from data stand in the HTML around it, so no caption can upset a drawing.
Knows nothing of runs, stages or tasks.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mm1.report.markup import Markup, count, escape

if TYPE_CHECKING:  # Importing matplotlib looks for fonts and writes what it found: only where something is drawn.
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# What is drawn in these colours gets the page's: the values are only names, distinct from one another.
INK, FAINT, GRID = "#010101", "#020202", "#030303"
SERIES = tuple(f"#0400{number:02x}" for number in range(8))
PAGE_COLOURS = {INK: "var(--ink)", FAINT: "var(--muted)", GRID: "var(--rule)"} | {
    name: f"var(--c{number})" for number, name in enumerate(SERIES)
}
MOST_POINTS = 400
"""Points drawn of one line; longer ones are averaged in groups."""
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": FAINT,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": FAINT,
    "ytick.labelcolor": FAINT,
    "text.color": FAINT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line; `low` and `high`, where given, are drawn as a band around it. A value that is not finite is a gap."""

    x: Sequence[float]
    y: Sequence[float]
    colour: int | None = 0
    """Number of the page's colour; None is the muted one."""
    low: Sequence[float] | None = None
    high: Sequence[float] | None = None
    dashed: bool = False
    marks: bool = False


def chart(
    lines: Sequence[Line],
    *,
    label: str,
    width: int = 300,
    height: int = 170,
    x_label: str = "",
    x_ticks: Sequence[float] | None = None,
    y_limits: tuple[float, float] | None = None,
    percent: bool = False,
) -> Markup:
    """The lines over common axes, `width` by `height` CSS pixels at its natural size; `label` is for who cannot see it.

    With `percent`, y is a fraction and written times 100.
    """
    with _axes(label, width, height, bool(x_label)) as (figure, axes):
        _frame(axes, percent, x_ticks)
        for line in lines:
            _draw(axes, line)
        if y_limits is not None:
            axes.set_ylim(*y_limits)
            if percent and y_limits[1] < 1.25:
                axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        if x_label:
            axes.set_xlabel(x_label, labelpad=2)
        return _svg(figure, label)


def histogram(
    edges: Sequence[float],
    counts: Sequence[float],
    *,
    label: str,
    log: bool = False,
    width: int = 300,
    height: int = 150,
) -> Markup:
    """`counts` as steps between `edges` (one more than there are counts), which with `log` are more than zero."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

    with _axes(label, width, height, labelled=False) as (figure, axes):
        _frame(axes, percent=False, x_ticks=None)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.stairs(counts, edges, fill=True, color=SERIES[0])
        axes.set_ylim(0)
        axes.margins(x=0.01)
        if log:
            axes.set_xscale("log")
            span = edges[-1] / edges[0]  # whole powers of ten alone would leave few marks in a narrow span, or none
            powers = LogLocator(subs=(1, 2, 5) if span < 200 else (1,), numticks=6)
            axes.xaxis.set_major_locator(MaxNLocator(4) if span < 5 else powers)
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
        return _svg(figure, label)


@contextmanager
def _axes(label: str, width: int, height: int, labelled: bool) -> Iterator[tuple[Figure, Axes]]:
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    # Drawings share one page, and so one space of ids: the salt keeps them apart.
    with rc_context({**STYLE, "svg.hashsalt": label}):
        figure = Figure(figsize=(width / 72, height / 72))
        FigureCanvasSVG(figure)
        left, bottom = 38 / width, (32 if labelled else 20) / height
        axes = figure.add_axes((left, bottom, 1 - left - 10 / width, 1 - bottom - 8 / height))
        yield figure, axes


def _frame(axes: Axes, percent: bool, x_ticks: Sequence[float] | None) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, pad=4)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    scale = 100 if percent else 1
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(scale * value, 10))))
    if x_ticks is None:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(value)))
        axes.margins(x=0.01)
    else:
        axes.set_xticks(x_ticks, [f"{tick:g}" for tick in x_ticks])
        axes.margins(x=0.08)


def _draw(axes: Axes, line: Line) -> None:
    colour = FAINT if line.colour is None else SERIES[line.colour % len(SERIES)]
    x, y = _thinned(line.x), _thinned(line.y)
    if line.low is not None and line.high is not None:
        low, high = _thinned(line.low), _thinned(line.high)
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    style = "--" if line.dashed else ":" if line.colour is not None and line.colour % 16 >= 8 else "-"
    marker = "o" if line.marks else None
    thickness = 1.1 if line.dashed else 1.7
    axes.plot(x, y, color=colour, linestyle=style, linewidth=thickness, marker=marker, markersize=4.5)
    if not line.marks and any(alone := _alone(y)):
        axes.plot(x[alone], y[alone], color=colour, linestyle="", marker="o", markersize=3)


def _alone(y: np.ndarray) -> np.ndarray:
    """Which points have a gap or nothing on both sides: no line leads to them, and they would not be seen."""
    known = np.pad(np.isfinite(y), 1)
    alone: np.ndarray = known[1:-1] & ~known[:-2] & ~known[2:]
    return alone


def _thinned(values: Sequence[float]) -> np.ndarray:
    """At most MOST_POINTS values: the means of what is finite among groups of neighbours."""
    array = np.asarray(values, dtype=np.float64)
    group = -(-len(array) // MOST_POINTS)
    if group <= 1:
        return array
    starts, known = np.arange(0, len(array), group), np.isfinite(array)
    counts = np.add.reduceat(known.astype(np.float64), starts)
    sums = np.add.reduceat(np.where(known, array, 0.0), starts)
    return np.where(counts > 0, sums / np.maximum(counts, 1.0), np.nan)


def _plain(found: re.Match[str]) -> str:
    """Nothing, or a group without its name: names repeat between drawings and nothing refers to them."""
    return "<g" if found[0].startswith("<g") else ""


def _svg(figure: Figure, label: str) -> Markup:
    """The <svg> element alone, sized by the page, in the page's colours and font."""
    file = io.StringIO()
    figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r"font-family:[^;\"]*;|<g id=\"[^\"]*_\d+\"|\btransform=\"rotate\(-0[^\"]*\"", _plain, text)
    for name, colour in PAGE_COLOURS.items():
        text = text.replace(name, colour)
    size = re.search(r'viewBox="0 0 ([\d.]+) ', text)
    assert size is not None, "matplotlib writes a viewBox"
    head = f'<svg role="img" aria-label="{escape(label)}" style="max-width:{1.35 * float(size[1]):.0f}px" '
    text = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', lambda found: f"{head}{found[1]}>", text, count=1)
    return Markup(re.sub(r"\n\s*", " ", text))
