"""The curve of `mm1 bench plan`: what a plan costs, over the number of documents.

    write_curve(figures, Path("docs/plan.svg"))

Knows nothing of how the figures came about.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from mm1.bench.plan import PlanFigures
from mm1.files import write_atomically

_COLOURS = ("#1f6feb", "#d1570a", "#2da44e")


def write_curve(figures: Sequence[PlanFigures], path: Path) -> None:
    """Draws counting, size and look-ups over the documents, both axes logarithmic, as an SVG."""
    # Importing matplotlib looks for fonts and writes what it found: only where something is drawn.
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    documents = [row.documents for row in figures]
    panels = (
        ("counting once, CPU seconds", {"": [row.counting_seconds for row in figures]}),
        ("file, MB", {"": [row.file_bytes / 1e6 for row in figures]}),
        (
            "finding a step, ms",
            {
                "step 0": [row.first_step_seconds * 1e3 for row in figures],
                "step 10⁶": [row.late_step_seconds * 1e3 for row in figures],
            },
        ),
    )
    # No time of making, and names by content: the same figures give the same file.
    with rc_context({"svg.hashsalt": "mm1", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        FigureCanvasSVG(figure)
        for axes, (title, curves) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            for colour, (name, values) in zip(_COLOURS, curves.items(), strict=False):
                axes.plot(documents, values, color=colour, marker="o", markersize=3, label=name)
            axes.set(xscale="log", yscale="log", title=title, xlabel="documents")
            axes.grid(visible=True, alpha=0.3)
            if len(curves) > 1:
                axes.set_ylim(1, 1000)
                axes.legend(frameon=False)
        drawn = io.BytesIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None})
    write_atomically(path, drawn.getvalue())
