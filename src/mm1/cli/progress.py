"""How evaluation shows itself: a bar on a terminal, a line a task elsewhere. Knows nothing of tasks."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class EvalProgress:
    """A `mm1.eval.runner.Progress`; a context manager, so that the bar is put away."""

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
