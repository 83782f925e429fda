"""`mm1 bench curate`: HTML beside trafilatura, the whole pipeline by steps, and what they would take for MM1's pages.

    HTML        pages a CPU-second: mm1, resiliparse, trafilatura          bench/curate_html.py
    pipeline    pages a CPU-second and core, the share of each step, peak memory for a quarter and for all of the input:
                anonymous, and of mapped files
    MM1         core-hours and storage of each step for 150 billion pages (A.2), if they are as these

Knows nothing of the rules.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.table import Table

from mm1.bench.curate_html import measure_html
from mm1.bench.curate_run import Measured, StepCost, measured_apart
from mm1.config import Config, UserError, override
from mm1.curation.config import PROFILES
from mm1.curation.page import Page
from mm1.curation.sources import list_parts, read_pages

MM1_PAGES = 150_000_000_000
"""Of MM1's text-only data, before any filter (A.2)."""
_COLUMNS = ("CPU-s", "share", "pages/CPU-s", "peak memory", "mapped", "core-hours", "storage")
"""Of the pipeline's steps. Peak memory is anonymous: what is mapped the kernel takes back when it needs it."""


class CurateBenchConfig(Config):
    """What is measured."""

    sources: tuple[Path, ...]
    repetitions: int = Field(5, ge=1)
    """Of the HTML half."""
    pages: int = Field(500, ge=1)
    """Of the HTML half; the whole pipeline takes all."""
    part_files: int = Field(128, ge=1)
    """Pages a part."""
    memory_mb: int = Field(256, ge=1)
    """For what is counted over the whole set."""


@dataclass(frozen=True)
class CurateFigures:
    """What came of it."""

    html: dict[str, Any]
    quarter: Measured
    whole: Measured


def bench_curate(config: CurateBenchConfig, say: Callable[[str], None]) -> CurateFigures:
    """Measures.

    Raises:
        UserError: a source can not be read, or holds no page.
    """
    curated = override(PROFILES["mm1"], ["download=false", f"sources.part_files={config.part_files}"])
    parts = [part for part in list_parts(config.sources, curated.sources) if not part.kind.endswith("_urls")]
    pages = (page.html for part in parts for page in read_pages(part, curated.sources) if isinstance(page, Page))
    few = list(islice(pages, config.pages))
    if not few:
        raise UserError("the sources hold no page: give WARC files or folders of HTML")
    say(f"{len(few):,} pages as HTML, {config.repetitions} times")
    html = measure_html(few, config.repetitions)
    say(f"a quarter of {len(parts)} parts, then all, in one process")
    memory = config.memory_mb << 20
    quarter, whole = (measured_apart(config.sources, curated, share, memory) for share in (0.25, 1.0))
    return CurateFigures(html, quarter, whole)


def tables(figures: CurateFigures) -> list[Table]:
    """HTML, and the pipeline by steps."""
    html = _table(f"HTML to content, {figures.html['pages']:,} pages", "extractor", ("pages/CPU-s", "mm1 is faster by"))
    for name, rate in figures.html["pages_per_cpu_second"].items():
        ratio = figures.html["ratios"].get(name)
        html.add_row(name, f"{rate:,.0f}", "" if ratio is None else f"{ratio:,.1f}")
    whole = figures.whole
    title = f"Pipeline, {whole.pages:,} pages; core-hours and storage are for {MM1_PAGES / 1e9:,.0f} billion such pages"
    pipeline = _table(title, "step", _COLUMNS)
    costs = list(whole.steps.values())
    seconds, size = sum(cost.cpu_seconds for cost in costs), sum(cost.bytes for cost in costs)
    total = StepCost(seconds, size, whole.peak)
    for name, cost in [*whole.steps.items(), ("in all", total)]:
        pipeline.add_row(name, *_cells(cost, total.cpu_seconds, whole.pages))
    return [html, pipeline]


def _table(title: str, first: str, others: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _cells(cost: StepCost, total: float, pages: int) -> tuple[str, ...]:
    scale = MM1_PAGES / pages
    rate = f"{pages / cost.cpu_seconds:,.0f}" if cost.cpu_seconds else ""
    hours, storage = cost.cpu_seconds * scale / 3600, cost.bytes * scale / 1e12
    share, peaks = f"{cost.cpu_seconds / total:.1%}", (_megabytes(cost.peak.anonymous), _megabytes(cost.peak.file))
    return f"{cost.cpu_seconds:.2f}", share, rate, *peaks, f"{hours:,.0f}", f"{storage:,.0f} TB"


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.0f} MB"


def lines(figures: CurateFigures) -> list[str]:
    """Below the tables."""
    quarter, whole = figures.quarter, figures.whole
    made = {step.name: step.counts for step in whole.funnel.steps if step.unit == "page"}
    images = [step.counts.entered for step in whole.funnel.steps if (step.name, step.unit) == ("images", "image")]
    total = sum(cost.cpu_seconds for cost in whole.steps.values())
    return [
        f"{whole.pages / total:,.0f} pages a second and core, {sum(images):,} images decoded, "
        f"{made['interleaved'].kept:,} documents made",
        f"Peak memory, anonymous: {_megabytes(quarter.peak.anonymous)} for {quarter.pages:,} pages, "
        f"{_megabytes(whole.peak.anonymous)} for {whole.pages:,}; beside it mapped files, whose pages the kernel takes "
        f"back when it needs them: {_megabytes(quarter.peak.file)} and {_megabytes(whole.peak.file)}",
        "Core-hours and storage grow with pages as measured here: other pages have other images and pass other rules, "
        "and what a part takes whatever its size is counted for each",
    ]


def to_json(figures: CurateFigures) -> dict[str, Any]:
    """All of it as plain values."""
    runs = {"quarter": figures.quarter, "whole": figures.whole}
    return {"html": figures.html, **{name: _plain(run) for name, run in runs.items()}}


def _plain(run: Measured) -> dict[str, Any]:
    steps = {name: asdict(cost) for name, cost in run.steps.items()}
    return {
        "pages": run.pages,
        "source_bytes": run.source_bytes,
        "peak": asdict(run.peak),
        "steps": steps,
        "funnel": run.funnel.to_json(),
    }
