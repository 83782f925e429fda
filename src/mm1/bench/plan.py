"""`mm1 bench plan`: what a plan costs, from a hundred thousand documents to a thousand million.

    captions, pages, text (lengths by formula, nothing stored) → plan → time, memory, file size, steps 0 and 10^6

A plan counts a block of documents when it first comes to it, and keeps what it counted. So there are two costs: of
counting, a few microseconds a document and once in a run's life; and of finding a step in a plan that was stored. Both
are measured; counting on no more than `counted` documents of each source, from which the rest is reckoned. Knows
nothing of documents' content.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
from pydantic import PositiveInt
from rich.table import Table

from mm1.bench.simulated import NUM_IMAGE_TOKENS, simulated_data, simulated_sources
from mm1.config import Config
from mm1.data.plan import Plan, build_plan, load_plan
from mm1.data.sources import Source
from mm1.data.stream import BLOCK, COUNTED_AT_ONCE, SourceStream

T = TypeVar("T")

LATE_STEP = 10**6
TASK_BLOCKS = 16 * COUNTED_AT_ONCE
"""Blocks that a process counts before it tells of them."""


class PlanBenchConfig(Config):
    """How large the plans are."""

    documents: tuple[PositiveInt, ...] = (10**5, 10**6, 10**7, 10**8, 10**9)
    """Of all sources together."""
    counted: PositiveInt = 200_000
    """Documents of each source that are counted at most; as many as there are: nothing is reckoned."""
    processes: PositiveInt = 1
    """That count side by side. Their CPU seconds are added up."""
    repetitions: PositiveInt = 5
    rows: PositiveInt = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanFigures:
    """Of a plan for so many documents; the seconds of lookups are medians, each in a plan just loaded."""

    documents: int
    counting_seconds: float
    """CPU seconds of one pass over all documents; reckoned where not all were counted."""
    wall_seconds: float
    """That the counting took, of what was counted."""
    reckoned: bool
    load_seconds: float
    first_step_seconds: float
    late_step_seconds: float
    plan_bytes: int
    """Of the counts in memory."""
    file_bytes: int
    peak_rss_bytes: int
    """Of the process so far, with Python, numpy and torch in it."""
    fill: dict[str, float]
    """Share of the positions of each source's packs that is not padding."""


def bench_plan(config: PlanBenchConfig, say: Callable[[str], None]) -> list[PlanFigures]:
    """Measures each size, the smallest first, and says what it is doing."""
    figures = []
    for documents in sorted(config.documents):
        say(f"a plan for {documents:,} documents")
        figures.append(_measure(config, documents))
    return figures


def _measure(config: PlanBenchConfig, documents: int) -> PlanFigures:
    sources = simulated_sources(documents)
    plan = build_plan(simulated_data(config.rows), sources, NUM_IMAGE_TOKENS)
    began = time.perf_counter()
    spent = _count(plan, config)
    wall = time.perf_counter() - began
    seconds = sum(
        spent[name] * stream.num_blocks / (stream.counts.shape[1] - 1) for name, stream in plan.streams.items()
    )
    fill = _fill(plan)
    for stream in plan.streams.values():
        stream.restore(_supposed(stream))
    with tempfile.TemporaryDirectory() as folder:
        plan.save(Path(folder))
        file_bytes = sum(path.stat().st_size for path in Path(folder).iterdir())
        loads, first, late = zip(*(_lookups(Path(folder), sources) for _ in range(config.repetitions)), strict=True)
    return PlanFigures(
        documents=documents,
        counting_seconds=seconds,
        wall_seconds=wall,
        reckoned=any(config.counted < len(source) for source in sources.values()),
        load_seconds=median(loads),
        first_step_seconds=median(first),
        late_step_seconds=median(late),
        plan_bytes=sum(stream.counts.nbytes for stream in plan.streams.values()),
        file_bytes=file_bytes,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        fill=fill,
    )


_streams: dict[str, SourceStream] = {}
"""Of the plan that is counted, in each process that counts."""


def _begin(streams: dict[str, SourceStream]) -> None:
    """Runs once in each process."""
    _streams.clear()
    _streams.update(streams)


def _contents(task: tuple[str, int, int]) -> tuple[np.ndarray, float]:
    """What stands in some blocks of a source, and the CPU seconds that it took to say so."""
    name, first, stop = task
    began = time.process_time()
    return _streams[name].contents(first, stop), time.process_time() - began


def _count(plan: Plan, config: PlanBenchConfig) -> dict[str, float]:
    """Counts the plan, or `config.counted` documents of each source; the CPU seconds that each source took."""
    spent = dict.fromkeys(plan.streams, 0.0)
    tasks = []
    for name, stream in plan.streams.items():
        blocks = min(stream.num_blocks, -(-config.counted // BLOCK))
        tasks += [(name, first, min(blocks, first + TASK_BLOCKS)) for first in range(0, blocks, TASK_BLOCKS)]
    with ExitStack() as stack:
        if config.processes > 1:
            context = multiprocessing.get_context("spawn")
            pool = ProcessPoolExecutor(config.processes, context, initializer=_begin, initargs=(plan.streams,))
            results = stack.enter_context(pool).map(_contents, tasks)
        else:
            _begin(plan.streams)
            results = map(_contents, tasks)
        for (name, first, _), (contents, seconds) in zip(tasks, results, strict=True):
            stream = plan.streams[name]
            stream.learn(first, stream.counts[:, [first]] + np.pad(np.cumsum(contents, axis=1), ((0, 0), (1, 0))))
            spent[name] += seconds
    return spent


def _fill(plan: Plan) -> dict[str, float]:
    """Share of the positions of each source's packs, of those counted, that is not padding."""
    ends = {name: stream.counts[:, -1] for name, stream in plan.streams.items()}
    return {name: float(tokens / (packs * plan.config.seq_len)) for name, (packs, tokens, _) in ends.items()}


def _supposed(stream: SourceStream) -> np.ndarray:
    """(3, blocks + 1) counts of all blocks; those not counted are taken to hold a little less than any that was, so
    that every pack that is looked up is there.
    """
    counts = stream.counts
    missing = stream.num_blocks - (counts.shape[1] - 1)
    each = (np.diff(counts).min(axis=1) * 0.9).astype(np.int64)
    beyond = counts[:, -1:] + each[:, None] * np.arange(1, missing + 1)
    return np.concatenate([counts, beyond], axis=1)


def _lookups(folder: Path, sources: Mapping[str, Source]) -> tuple[float, float, float]:
    """Seconds of loading a plan, of finding its first step, and of finding a late step in another, fresh copy."""
    plan, load = _timed(lambda: load_plan(folder, sources))
    _, first = _timed(lambda: plan.rows(0))
    fresh = load_plan(folder, sources)
    _, late = _timed(lambda: fresh.rows(LATE_STEP))
    return load, first, late


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def table(figures: Sequence[PlanFigures]) -> Table:
    """Sizes down, what they cost across."""
    result = Table(title="What a plan costs", title_justify="left", box=None)
    for name in ("documents", "counting", "file", "memory", "loading", "step 0", "step 10^6"):
        result.add_column(name, justify="right", no_wrap=True)
    for row in figures:
        result.add_row(
            f"{row.documents:,}",
            f"{'~' if row.reckoned else ''}{row.counting_seconds:,.1f} s",
            f"{row.file_bytes / 1e6:,.2f} MB",
            f"{row.plan_bytes / 1e6:,.2f} MB",
            f"{row.load_seconds * 1e3:,.0f} ms",
            f"{row.first_step_seconds * 1e3:,.0f} ms",
            f"{row.late_step_seconds * 1e3:,.0f} ms",
        )
    return result


def lines(figures: Sequence[PlanFigures]) -> list[str]:
    """What stands below the table."""
    largest = figures[-1]
    fill = ", ".join(f"{name} {share:.1%}" for name, share in largest.fill.items())
    return [
        "Seconds of one core; ~ is reckoned from the documents counted. Counting is done as a run comes to the "
        "documents, and is kept with its checkpoints: the file is all that a resumed run needs. A step is found in a "
        "plan just loaded: its blocks are packed anew.",
        f"The counting of the largest took {largest.wall_seconds:,.0f} s by the clock. "
        f"The process took {largest.peak_rss_bytes / 1e6:,.0f} MB at most, Python and torch included. "
        f"Fill of sequences of 4,096 positions and 16 images: {fill}.",
    ]


def to_json(figures: Sequence[PlanFigures]) -> dict[str, Any]:
    """Plain values."""
    return {"bench": "plan", "late_step": LATE_STEP, "sizes": [asdict(row) for row in figures]}
