"""How long work shows itself: a bar on a terminal, plain lines elsewhere. Knows nothing of the work."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mm1.chain.workers import State

LINE_SECONDS = 10.0
"""Between two plain lines."""
REMINDER_SECONDS = 60.0
"""Without a word, after which what was said last is said again."""


class EvalProgress:
    """A `mm1.eval.asking.Progress`; a context manager, so that the bar is put away."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None

    def __enter__(self) -> EvalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._put_away()

    def __call__(self, task: str, shots: int, done: int, total: int) -> None:
        if not self._console.is_terminal:
            if done == total:
                self._console.print(f"   {task}, {shots} shots: {total} questions answered")
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.start()
            self._bar.add_task("", total=total)
        self._bar.update(self._bar.task_ids[0], description=f"{task}, {shots} shots", completed=done, total=total)
        if done == total:
            self._put_away()

    def _put_away(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class RateProgress:
    """A bar on a terminal, a line every LINE_SECONDS elsewhere; a context manager, so that the bar is put away.

    Where nothing is told for long, as when one part of the work takes minutes, the last line comes again.
    """

    def __init__(self, console: Console) -> None:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None, visible=False)
        self._said = 0.0
        self._began = time.monotonic()
        self._work, self._work_began = "", 0.0
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._bar.start()
        else:
            threading.Thread(target=self._watch, daemon=True).start()
        return self

    def _watch(self) -> None:
        while not self._ended.wait(LINE_SECONDS):
            self.remind(time.monotonic() - self._began)

    def remind(self, seconds: float) -> None:
        """Says again, where nothing was said for REMINDER_SECONDS, what is at work and for how long."""
        if self._work and seconds - self._said >= REMINDER_SECONDS:
            self._said = seconds
            self._console.print(f"   {self._work}, at work for {(seconds - self._work_began) / 60:.0f} min")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._console.is_terminal:
            self._bar.stop()

    def begin(self, name: str) -> None:
        """Names what has begun, of which nothing is known yet."""
        self._work, self._work_began = name, time.monotonic() - self._began
        if self._console.is_terminal:
            self._bar.reset(self._task, description=name, visible=True)
            self._bar.tasks[0].total = None  # how many parts there are is told with the first

    def tell(self, seconds: float, done: int, total: int, rate: str, line: str) -> None:
        """Shows how far it is after `seconds`: `rate` beside the bar, or `line`."""
        self._work = line
        if self._console.is_terminal:
            self._bar.update(self._task, description=rate, completed=done, total=total, visible=True)
        elif seconds - self._said >= LINE_SECONDS or done == total:
            self._said = seconds
            self._console.print(f"   {line}")


class PrepareProgress(RateProgress):
    """A `mm1.chain.workers.Progress`."""

    def __call__(self, state: State) -> None:
        seconds = max(state.seconds, 1e-9)
        rate = f"{state.documents / seconds:,.0f} documents/s, {state.bytes / seconds / 1e6:,.1f} MB/s"
        done = f"{state.parts} of {state.total_parts} parts"
        line = f"{state.documents:,} documents, {state.dropped:,} dropped, {rate}, {done}"
        self.tell(state.seconds, state.parts, state.total_parts, rate, line)


class GenerateProgress(RateProgress):
    """A `mm1.eval.continuations.Progress`."""

    def __call__(self, done: int, total: int, tokens: int) -> None:
        seconds = time.monotonic() - self._began
        rate = f"{tokens / max(seconds, 1e-9):,.1f} tokens/s"
        self.tell(seconds, done, total, rate, f"{done:,} of {total:,} documents, {rate}")
