"""How training shows itself: a bar on a terminal, a plain line every logged step elsewhere.

    pretrain  120/690 · loss 1.234 · 4,512 tokens/s · MFU 43% · data 2% · remaining 2:10

The caller may pass its own `say`, a function that prints one line. Knows nothing of training but the log's records.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

Say: TypeAlias = Callable[[str], None]


class Display(Protocol):
    """Shows how training goes."""

    def advance(self, step: int) -> None:
        """`step` steps are done; called after every one."""

    def show(self, record: dict[str, Any]) -> None:
        """Takes a line of metrics.jsonl; called at logged steps, before `advance`."""


@contextmanager
def display(name: str, steps: int, say: Say, shown: bool = True) -> Iterator[Display]:
    """A bar where standard output is a terminal, lines through `say` elsewhere, nothing unless `shown`."""
    if not shown:
        yield Nothing()
        return
    if not sys.stdout.isatty():
        yield Lines(name, steps, say)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[about]}"))
    with Progress(*columns, refresh_per_second=4) as progress:
        yield Bar(name, steps, progress)


class Nothing:
    """For the ranks that are not the first."""

    def advance(self, step: int) -> None:
        pass

    def show(self, record: dict[str, Any]) -> None:
        pass


class Lines:
    """A line for every record."""

    def __init__(self, name: str, steps: int, say: Say) -> None:
        self._name = name
        self._steps = steps
        self._say = say
        self._rates = Rates(steps)

    def advance(self, step: int) -> None:
        pass

    def show(self, record: dict[str, Any]) -> None:
        self._rates.update(record)
        self._say(f"{self._name}  {record['step']}/{self._steps} · {self._rates.text(record['step'])}")


class Bar:
    """A bar that moves with every step; its figures are those of the last record."""

    def __init__(self, name: str, steps: int, progress: Progress) -> None:
        self._progress = progress
        self._rates = Rates(steps)
        self._task = progress.add_task(name, total=steps, about="")

    def advance(self, step: int) -> None:
        self._progress.update(self._task, completed=step, about=self._rates.text(step))

    def show(self, record: dict[str, Any]) -> None:
        self._rates.update(record)


class Rates:
    """Speeds between the last two records of this process."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._last: dict[str, Any] | None = None
        self._loss: float | None = None
        self._used = self._paused = ""
        self._tokens_per_second = self._data_share = self._seconds_per_step = float("nan")

    def update(self, record: dict[str, Any]) -> None:
        last, self._last, self._loss = self._last, record, record["loss"]
        self._used = _used(record["mfu"], record["flops_per_second"])
        self._paused = f" · paused {pause:.0f} s for data" if (pause := record["data_pauses"]) else ""
        if last is None:
            last = {"seconds": 0.0, "tokens": 0, "step": 0, "time": {"data": 0.0}}
        seconds = max(record["seconds"] - last["seconds"], 1e-9)
        self._tokens_per_second = (record["tokens"] - last["tokens"]) / seconds
        self._data_share = (record["time"]["data"] - last["time"]["data"]) / seconds
        self._seconds_per_step = seconds / max(1, record["step"] - last["step"])

    def text(self, step: int) -> str:
        """Loss, tokens a second, MFU, share of the time spent waiting for data, remaining time; "" before a record."""
        if self._last is None:
            return ""
        minutes, seconds = divmod(round(self._seconds_per_step * (self._steps - step)), 60)
        hours, minutes = divmod(minutes, 60)
        remaining = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
        loss = "none" if self._loss is None else f"{self._loss:.4g}"
        return (
            f"loss {loss} · {self._tokens_per_second:,.0f} tokens/s{self._used} · data {self._data_share:.0%} · "
            f"remaining {remaining}{self._paused}"
        )


def _used(mfu: float | None, flops_per_second: float | None) -> str:
    """How much of the machine is used: MFU; operations a second where the peak is not known; "" where neither is."""
    if mfu is not None:
        return f" · MFU {mfu:.0%}"
    if flops_per_second is None:
        return ""
    scale, unit = (1e12, "TFLOP/s") if flops_per_second >= 1e12 else (1e9, "GFLOP/s")
    return f" · {flops_per_second / scale:.1f} {unit}"
