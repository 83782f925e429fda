"""One run of the pipeline in a process of its own: what each step takes, and the most memory that it takes.

    measured = measured_apart(paths, share=0.25)      # a quarter of the parts
    measured.steps["images"].cpu_seconds

Everything runs in one process and one thread, so that CPU time is the work's. Memory is looked at every hundredth of a
second: what the process has written to, which is what a setting must bound, and apart from it the files that it maps
(libraries, lookups, stored images), whose pages the kernel takes back when it likes. Knows nothing of how it is shown.
"""

from __future__ import annotations

import multiprocessing
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from mm1.config import UserError
from mm1.curation.config import CurateConfig
from mm1.curation.funnel import Funnel
from mm1.curation.memory import Memory, held
from mm1.curation.pipeline import Pipeline
from mm1.curation.runner import Runner
from mm1.curation.sources import list_parts
from mm1.curation.steps.finish import finish
from mm1.steps import execute

_LOOK_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class StepCost:
    """What one step took."""

    cpu_seconds: float
    bytes: int
    """Of the files that it left."""
    peak: Memory
    """The most of each kind while it ran."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A run."""

    pages: int
    """That its sources held."""
    source_bytes: int
    """Of its parts, as they are read, about."""
    steps: dict[str, StepCost]
    funnel: Funnel
    peak: Memory
    """The most of each kind over all steps, with the listing of the sources before and the report after them."""


def measured_apart(paths: Sequence[Path], config: CurateConfig, share: float, memory: int) -> Measured:
    """The run of the first `share` of the parts of some sources, in a process of its own.

    Raises:
        UserError: a source can not be read.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, list(paths), config, share, memory))
    process.start()
    theirs.close()
    try:
        found = ours.recv()
    except EOFError:
        raise UserError("the process that was measured was ended from outside, perhaps for want of memory") from None
    finally:
        process.join()
    if isinstance(found, UserError):
        raise found
    assert isinstance(found, Measured)
    return found


def _run(connection: Connection, paths: Sequence[Path], config: CurateConfig, share: float, memory: int) -> None:
    try:
        connection.send(measure(paths, config, share, memory))
    except UserError as error:
        connection.send(error)


def measure(paths: Sequence[Path], config: CurateConfig, share: float, memory: int) -> Measured:
    """As `measured_apart`, in this process."""
    costs: dict[str, StepCost] = {}
    with tempfile.TemporaryDirectory() as temporary, _Watch() as watch:
        parts = list_parts(paths, config.sources)
        parts = parts[: max(1, round(share * len(parts)))]
        out = Path(temporary) / "out"
        folders = {}
        before = watch.take()
        for step in Pipeline(parts, out, config, Runner(memory=memory), None).steps():
            began = time.process_time()
            folders[step.name] = execute(step, out / "work").folder
            seconds = time.process_time() - began
            costs[step.name] = StepCost(seconds, _size(folders[step.name]), watch.take())
        finished = finish(out, folders, [part.name for part in parts], {})  # costs the same whatever the size
        peak = most([before, *(cost.peak for cost in costs.values()), watch.take()])
    pages = finished.funnel.steps[0].counts.entered
    return Measured(pages, sum(part.size for part in parts), costs, finished.funnel, peak)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def most(found: Sequence[Memory]) -> Memory:
    """The most of each kind."""
    return Memory(max(one.anonymous for one in found), max(one.file for one in found))


class _Watch:
    """The most memory that this process has had since it was asked last."""

    def __enter__(self) -> _Watch:
        self._peak, self._stop = held(), threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(_LOOK_SECONDS):
            self._peak = most([self._peak, held()])

    def take(self) -> Memory:
        """The most of each kind."""
        now = held()
        peak, self._peak = most([self._peak, now]), now
        return peak
