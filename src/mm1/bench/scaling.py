"""`mm1 bench scaling`: the same work a process for 1, 2, … processes; and how long it takes until training goes.

    weak scaling   tiny recipe, so many rows a rank    tokens/s, and where a step's time went
    side by side   as many runs of one process         tokens/s of all: what the machine has for them
    start          `mm1 train` under torchrun          seconds from the command to the first step
                   SIGKILL, the same command           seconds from the kill to the first step after it

Knows nothing of how the figures are shown.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import PositiveInt
from rich.table import Table

from mm1.bench import ranks
from mm1.bench.start import Start, measure_start
from mm1.config import Config


class ScalingBenchConfig(Config):
    """How much is measured."""

    processes: tuple[PositiveInt, ...] = (1, 2)
    """How many train together, one measurement each."""
    steps: PositiveInt = 20
    rows: PositiveInt = 6
    """Of a rank, so that work grows with the ranks."""
    repetitions: PositiveInt = 3
    """Of each measurement; medians are told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Where the time of a run of several ranks went; seconds are means over steps and ranks."""

    processes: int
    tokens_per_second: float
    """Of all ranks together, by the clock."""
    seconds: float
    """Of a step."""
    computed: float
    """In the thread that trains."""
    beside: float
    """In other threads of the rank: gloo's copying and adding."""
    queued: float
    """Ready to compute, but other programs had the processors."""
    communicating: float
    """Waiting as long as the rank that waited least: nobody was to be waited for."""
    idle: float
    """Waiting beyond that, for a rank that was slower, or that stood in line."""
    apart: float
    """Tokens a second of as many runs of one process each, at the same time: they share memory and caches, no more."""


def shares(found: dict[str, Any], apart: float) -> Shares:
    """Of what a process of `scaling_rank` wrote: tokens, and for each rank a row a step."""
    rows = found["ranks"]
    steps, processes = len(rows[0]), len(rows)
    waited = [[max(0.0, seconds - own - queued) for seconds, own, queued, _ in rank] for rank in rows]
    least = [min(of_step) for of_step in zip(*waited, strict=True)]
    seconds, own, queued, beside = (
        sum(row[column] for rank in rows for row in rank) / (steps * processes) for column in range(4)
    )
    return Shares(
        processes=processes,
        tokens_per_second=_speed(found),
        seconds=seconds,
        computed=own,
        beside=beside,
        queued=queued,
        communicating=statistics.mean(least),
        idle=statistics.mean(sum(rank) / steps for rank in waited) - statistics.mean(least),
        apart=apart,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """All that was measured."""

    rows: int
    steps: int
    shares: list[Shares]
    """For each number of processes, the repetition whose speed is the median."""
    starts: list[Start]
    load: float
    """Of the machine when it ended."""


def bench_scaling(config: ScalingBenchConfig, say: Callable[[str], None]) -> Scaling:
    """Measures, and says what it is doing.

    Raises:
        UserError: processes that were started failed.
    """
    measured: dict[int, list[Shares]] = {number: [] for number in config.processes}
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(config.repetitions):
            for number in config.processes:
                together = _train(number, Path(folder) / "shares.json", config)
                apart = _side_by_side(number, Path(folder), config) if number > 1 else _speed(together)
                measured[number].append(shares(together, apart))
                speed = measured[number][-1].tokens_per_second
                say(f"repetition {repetition + 1} of {config.repetitions}, {number} processes: {speed:,.0f} tokens/s")
    starts = [measure_start(number, config.repetitions, say) for number in config.processes]
    return Scaling(
        rows=config.rows,
        steps=config.steps,
        shares=[_median(found) for found in measured.values()],
        starts=starts,
        load=os.getloadavg()[0],
    )


def _train(processes: int, path: Path, config: ScalingBenchConfig) -> dict[str, Any]:
    ranks.run(processes, "mm1.bench.scaling_rank", [str(path), str(config.steps), str(config.rows)])
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _side_by_side(runs: int, folder: Path, config: ScalingBenchConfig) -> float:
    """Tokens a second of that many runs of one process together."""
    paths = [folder / f"apart{number}.json" for number in range(runs)]
    with ThreadPoolExecutor(runs) as threads:
        return sum(map(_speed, threads.map(lambda path: _train(1, path, config), paths)))


def _speed(found: dict[str, Any]) -> float:
    """Tokens a second of all ranks of a run, by the clock."""
    steps = [seconds for rank in found["ranks"] for seconds, *_ in rank]
    return float(found["tokens"] * len(found["ranks"]) / sum(steps))


def _median(found: list[Shares]) -> Shares:
    return sorted(found, key=lambda one: one.tokens_per_second)[len(found) // 2]


def table(measured: Scaling) -> list[Table]:
    """Numbers of processes side by side: weak scaling, then starts."""
    title = f"Weak scaling: {measured.rows} rows a process, {measured.steps} steps"
    scaling, first = _empty(title, measured), measured.shares[0]
    rows: dict[str, Callable[[Shares], str]] = {
        "tokens/s": lambda one: f"{one.tokens_per_second:,.0f}",
        "efficiency": lambda one: f"{efficiency(first, one):.0%}",
        "beside runs apart": lambda one: f"{one.tokens_per_second / one.apart:.0%}",
        "ms a step": lambda one: f"{1000 * one.seconds:.0f}",
        "  computing": lambda one: f"{one.computed / one.seconds:.1%}",
        "  in line for a CPU": lambda one: f"{one.queued / one.seconds:.1%}",
        "  communication": lambda one: f"{one.communicating / one.seconds:.1%}",
        "  waiting for a slower rank": lambda one: f"{one.idle / one.seconds:.1%}",
        "gloo's threads meanwhile": lambda one: f"{one.beside / one.seconds:.1%}",
    }
    for name, show in rows.items():
        scaling.add_row(name, *map(show, measured.shares))
    start = _empty("Seconds until training goes", measured)
    start.add_row("command to first step", *(f"{one.first:.1f}" for one in measured.starts))
    start.add_row("kill to first step after it", *(f"{one.resumed:.1f}" for one in measured.starts))
    return [scaling, start]


def _empty(title: str, measured: Scaling) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("processes")
    for one in measured.shares:
        table.add_column(str(one.processes), justify="right")
    return table


def efficiency(first: Shares, one: Shares) -> float:
    """Speed a process beside that of the first measurement; 1 loses nothing."""
    return (one.tokens_per_second / one.processes) / (first.tokens_per_second / first.processes)


def lines(measured: Scaling) -> list[str]:
    """What the tables are worth."""
    first = measured.shares[0]
    undisturbed = ", ".join(
        f"{one.processes}: {(first.seconds - first.queued) / (one.seconds - one.queued):.0%}" for one in measured.shares
    )
    return [
        f"Efficiency without what the ranks themselves stood in line: {undisturbed}. Waiting for another that stood in "
        "line is in it.",
        "Beside runs apart: over as many runs of one process at the same time, which share the machine's memory too, "
        "and do not talk.",
        f"Load when it ended: {measured.load:.1f}, CPUs: {os.cpu_count()}.",
    ]


def to_json(measured: Scaling) -> dict[str, Any]:
    """The same for scripts."""
    return asdict(measured)
