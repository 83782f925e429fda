"""How long work shows itself: a bar on a terminal, plain lines elsewhere. Knows nothing of the work."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mm1.chain.workers import State

LINE_SECONDS = 10.0
"""Between two plain lines of `PrepareProgress`."""


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


class PrepareProgress:
    """A `mm1.chain.workers.Progress`; a context manager, so that the bar is put away."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._console = console
        self._bar = Progress(*columns, console=console, transient=True)
        self._task = self._bar.add_task("", total=None, visible=False)
        self._said = 0.0

    def __enter__(self) -> PrepareProgress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._console.is_terminal:
            self._bar.stop()

    def __call__(self, state: State) -> None:
        seconds = max(state.seconds, 1e-9)
        rate = f"{state.documents / seconds:,.0f} documents/s, {state.bytes / seconds / 1e6:,.1f} MB/s"
        if self._console.is_terminal:
            self._bar.update(self._task, description=rate, completed=state.parts, total=state.total_parts, visible=True)
        elif state.seconds - self._said >= LINE_SECONDS or state.parts == state.total_parts:
            self._said = state.seconds
            done = f"{state.parts} of {state.total_parts} parts"
            self._console.print(f"   {state.documents:,} documents, {state.dropped:,} dropped, {rate}, {done}")
