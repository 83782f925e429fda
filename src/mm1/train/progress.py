"""How training shows itself: a bar on a terminal, figures beneath it; elsewhere a plain line every logged step.

    pretrain ━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 120/690 remaining 2:10
      loss 1.234 · 4,512 tokens/s · MFU 43% · data 2%

    pretrain  120/690 · loss 1.234 · 4,512 tokens/s · MFU 43% · data 2% · remaining 2:10

Speeds are those since the record before, though another process may have made it; `data` is the share of that time in
which the first rank waited for data. While a bar is shown, `print` writes above it.
The caller may pass its own `say`, a function that prints one line. Knows nothing of training but the log's records.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from mm1.distributed.collectives import num_ranks

Say: TypeAlias = Callable[[str], None]


class Display(Protocol):
    """Shows how training goes."""

    def advance(self, step: int) -> None:
        """`step` steps are done; called after every one."""

    def show(self, record: Mapping[str, Any], since: Mapping[str, float]) -> None:
        """Takes a line of metrics.jsonl; called at logged steps, before `advance`.

        `since` is what was added since the line before: "steps", "seconds", "tokens", and "waited", seconds in which
        this rank waited for data.
        """


@contextmanager
def display(name: str, steps: int, say: Say, shown: bool = True) -> Iterator[Display]:
    """A bar where standard output is a terminal, lines through `say` elsewhere, nothing unless `shown`.

    A process that another one has started to work for it has no terminal of its own: several would share one.
    """
    if not shown:
        yield Nothing()
        return
    console, is_worker = Console(), multiprocessing.parent_process() is not None
    if not sys.stdout.isatty() or console.is_dumb_terminal or is_worker:
        yield Lines(name, steps, say)
        return
    remaining = TextColumn("{task.fields[remaining]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), remaining)
    with _WithFigures(*columns, console=console, refresh_per_second=4) as progress:
        yield Bar(name, steps, progress)


class Nothing:
    """For the ranks that are not the first."""

    def advance(self, step: int) -> None:
        pass

    def show(self, record: Mapping[str, Any], since: Mapping[str, float]) -> None:
        pass


class Lines:
    """A line for every record."""

    def __init__(self, name: str, steps: int, say: Say) -> None:
        self._name = name
        self._steps = steps
        self._say = say

    def advance(self, step: int) -> None:
        pass

    def show(self, record: Mapping[str, Any], since: Mapping[str, float]) -> None:
        step = record["step"]
        figures = f"{_speeds(record, since)} · {_remaining(self._steps - step, since)}{_troubles(record)}"
        self._say(f"{self._name}  {step}/{self._steps} · {figures}")


class Bar:
    """A bar that moves with every step; its figures are those of the last record."""

    def __init__(self, name: str, steps: int, progress: Progress) -> None:
        self._steps = steps
        self._progress = progress
        self._since: Mapping[str, float] | None = None
        self._task = progress.add_task(name, total=steps, figures="", remaining="")

    def advance(self, step: int) -> None:
        remaining = "" if self._since is None else _remaining(self._steps - step, self._since)
        self._progress.update(self._task, completed=step, remaining=remaining)

    def show(self, record: Mapping[str, Any], since: Mapping[str, float]) -> None:
        self._since = since
        self._progress.update(self._task, figures=_speeds(record, since) + _troubles(record))


class _WithFigures(Progress):
    """Figures have a line of their own: beside the bar they would leave no room for it in 80 columns."""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        for task in self.tasks:
            if figures := task.fields["figures"]:
                yield Text(f"  {figures}")


def _speeds(record: Mapping[str, Any], since: Mapping[str, float]) -> str:
    """Loss, tokens a second, how much of the machine is used, share of the time spent waiting for data."""
    loss = "none" if record["loss"] is None else f"{record['loss']:.4g}"
    speed = f"{since['tokens'] / since['seconds']:,.0f} tokens/s{_used(record['mfu'], record['flops_per_second'])}"
    return f"loss {loss} · {speed} · data {since['waited'] / since['seconds']:.0%}"


def _used(mfu: float | None, flops_per_second: float | None) -> str:
    """How much of the machine is used: MFU; operations a second where the peak is not known; "" where neither is."""
    if mfu is not None:
        return f" · MFU {mfu:.0%}"
    if flops_per_second is None:
        return ""
    scale, unit = (1e12, "TFLOP/s") if flops_per_second >= 1e12 else (1e9, "GFLOP/s")
    return f" · {flops_per_second / scale:.1f} {unit}"


def _remaining(steps: int, since: Mapping[str, float]) -> str:
    """How long `steps` take if they go on as the last ones did."""
    minutes, seconds = divmod(round(since["seconds"] / since["steps"] * steps), 60)
    hours, minutes = divmod(minutes, 60)
    return f"remaining {hours}:{minutes:02}:{seconds:02}" if hours else f"remaining {minutes}:{seconds:02}"


def _troubles(record: Mapping[str, Any]) -> str:
    """Long waits since the record before, of ranks that may have waited at the same time, and all steps skipped."""
    pauses, skipped = record["data_pauses"], record["skipped_steps"]
    ranks = f" of {num_ranks()} ranks together" if num_ranks() > 1 else ""
    paused = f" · paused {pauses:.0f} s{ranks} for data" if pauses else ""
    return paused + (f" · {skipped} step{'s' * (skipped > 1)} skipped" if skipped else "")
