"""`mm1 curate` and its own commands: from parsed arguments to calls, from results to what is printed."""

from __future__ import annotations

import os
import re
import shlex
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from mm1.cli.progress import RateProgress
from mm1.cli.tables import show
from mm1.config import UserError, override
from mm1.curation.config import PROFILES, CurateConfig
from mm1.curation.engine import Progress, Values
from mm1.curation.funnel import Funnel
from mm1.curation.pipeline import UNREAD
from mm1.curation.pipeline import curate as run_curate
from mm1.curation.runner import Runner, cpus_of
from mm1.curation.steps.extract import STEP as EXTRACT
from mm1.curation.steps.finish import FUNNEL, REPORT
from mm1.curation.text.training import TrainQualityConfig, train_quality

console = Console(highlight=False, soft_wrap=True, markup=False)

_ASSIGNMENT = re.compile(r"[a-z_]\w*(\.\w+)*=")
_SIZE = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*([KMGT]?)i?B?", re.IGNORECASE)
_MOST_REASONS = 4
_ALONE_BYTES = 32 << 20
"""About 1,500 pages, ten seconds' work on one core, which is what starting processes for a dozen steps takes."""
_COUNTED = {"lists": "rows", "evaluations": "items", "images": "images", "captions": "images", "clip": "pairs"}
"""What the steps' parts are told by; the others by pages."""
_LEAST_MEMORY = 16 << 20
"""With less, what is counted over the set is counted in more pieces than a run should have."""


def curate(arguments: Namespace) -> None:
    """The sets of some sources, then what came of it."""
    paths, changes = sources_and_changes([*arguments.sources, *arguments.overrides])
    kept_out, more = sources_and_changes(arguments.keep_out)
    config = _config(arguments, kept_out, [*changes, *more])
    runner = _runner(arguments)
    with CurateProgress(console) as progress:
        finished = run_curate(paths, arguments.out, config, runner, progress.of)
    show(console, funnel_table(finished.funnel))
    for name, documents in finished.sets.items():
        noun = "document" if documents == 1 else "documents"
        console.print(f"{documents:>12,} {noun} in {arguments.out / name}")
    for name, fact in finished.facts.items():
        console.print(f"{name.capitalize()}: {fact}")
    console.print(f"Report: {arguments.out / REPORT}, figures: {arguments.out / FUNNEL}")
    if not any(step.counts.kept for step in finished.funnel.steps if step.name == EXTRACT):
        raise UserError(f"{UNREAD} {finished.facts[UNREAD]}: copy the sources anew, or give others")
    full = [name for name, documents in finished.sets.items() if documents]
    if full:
        words = [f"{name}={arguments.out / name}" for name in full]
        console.print(f"Next: {shlex.join(['mm1', 'prepare', *words, '--out', str(arguments.out / 'shards')])}")
    else:
        console.print("No document is left: the table above tells at which rule they were lost")


def curate_train_quality(arguments: Namespace) -> None:
    """The judges of quality, and what they say of texts that were held out."""
    good, changes = sources_and_changes(arguments.good)
    raw, more = sources_and_changes(arguments.raw)
    config = override(TrainQualityConfig(), [*arguments.overrides, *changes, *more])
    record = train_quality(good, raw, arguments.out, config, console.print)
    for reason, number in record.dropped.items():
        console.print(f"{number:>12,} not read: {reason}")
    console.print(f"Next: {shlex.join(['mm1', 'curate', 'SOURCES', f'text.quality.model={arguments.out}'])} --out …")


def _runner(arguments: Namespace) -> Runner:
    memory, processes = bytes_of(arguments.memory, "--memory"), arguments.processes
    if processes is None:
        joined = arguments.ray not in (None, "local")
        processes = cpus_of(arguments.ray) if joined else os.cpu_count() or 1
    if processes < 1:
        raise UserError(f"--processes is {processes}: give 1 or more")
    if memory < _LEAST_MEMORY:
        raise UserError(f"--memory is '{arguments.memory}': give at least {_LEAST_MEMORY >> 20}MB")
    alone = _ALONE_BYTES if arguments.processes is None else 0
    return Runner(processes=processes, ray=arguments.ray, memory=memory, alone_bytes=alone)


def sources_and_changes(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Paths, and assignments to keys; a file whose name looks like an assignment is a file."""
    changes = [word for word in words if _ASSIGNMENT.match(word) and not Path(word).exists()]
    return [Path(word) for word in words if word not in changes], changes


def _config(arguments: Namespace, kept_out: Sequence[Path], changes: Sequence[str]) -> CurateConfig:
    config = PROFILES[arguments.profile]
    if arguments.languages is not None:
        codes = () if arguments.languages == "all" else tuple(map(str.strip, arguments.languages.split(",")))
        config = config.in_languages(codes)
    if kept_out:
        config = config.keeping_out(tuple(kept_out))
    if arguments.offline:
        config = config.replace(download=False)
    return override(config, changes)


def bytes_of(text: str, option: str) -> int:
    """The number of bytes that a size as 4GB, 512M or 1.5 TB says, by powers of 1,024."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise UserError(f"{option} is '{text}': write a size as 4GB or 512MB")
    power = " KMGT".index(found[2].upper() or " ")
    return int(float(found[1]) * 1024**power)


class CurateProgress(RateProgress):
    """What is told of each step's parts."""

    def of(self, step: str) -> Progress:
        """For one step: how far it is, and how fast."""
        began, items, noun = time.monotonic(), 0, _COUNTED.get(step, "pages")
        self.begin(step)

        def tell(done: int, total: int, values: Values) -> None:
            nonlocal items
            items += values.get("in") or values.get("pages") or 0
            seconds = time.monotonic() - began
            rate = f"{step}: {items / max(seconds, 1e-9):,.0f} {noun} a second" if items else step
            self.tell(
                time.monotonic() - self._began, done, total, rate, f"{step}: {done} of {total} parts, {items:,} {noun}"
            )

        return tell


def funnel_table(funnel: Funnel) -> Table:
    """Each step with what came in, what went on, and the commonest reasons."""
    table = Table(title="Funnel", title_justify="left", box=None, pad_edge=False)
    table.add_column("step", no_wrap=True)
    table.add_column("of", no_wrap=True)
    for name in ("in", "out", "kept"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("dropped for")
    for step in funnel.steps:
        counts = step.counts
        kept = f"{counts.kept / counts.entered:.1%}" if counts.entered else ""
        reasons = list(counts.to_json()["dropped"].items())
        told = [f"{reason} {number:,}" for reason, number in reasons[:_MOST_REASONS]]
        rest = sum(number for _, number in reasons[_MOST_REASONS:])
        told += [f"others {rest:,}"] if rest else []
        table.add_row(step.name, step.unit, f"{counts.entered:,}", f"{counts.kept:,}", kept, _Listed(told))
    return table


class _Listed:
    """Things in a cell with commas between them; a line ends between two things only, so each keeps its number."""

    def __init__(self, things: Sequence[str]) -> None:
        self._things = [f"{thing}," for thing in things[:-1]] + [*things[-1:]]

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        longest = max(map(len, self._things), default=0)
        return Measurement(longest, len(" ".join(self._things))).with_maximum(options.max_width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        lines = [""]
        for thing in self._things:
            if lines[-1] and len(lines[-1]) + 1 + len(thing) > options.max_width:
                lines.append(thing)
            else:
                lines[-1] += f" {thing}" if lines[-1] else thing
        yield Text("\n".join(lines), overflow="fold")
