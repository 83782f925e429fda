"""Parts written in parallel processes, with what they do told as it happens.

    write_parts(parts, folder_of, tokenizer, num_processes=4, finished=…, progress=…)

Processes are spawned, not forked, for the parent may have threads of its own. A process ends when its parent does,
however that ended, so that two of them never write one part. Knows nothing of what a part is made of.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from mm1.chain.parts import Part, write_part
from mm1.config import UserError

TELL_SECONDS = 0.5
"""How often progress is told."""


@dataclass(frozen=True, slots=True)
class State:
    """What was done in this call, so far."""

    documents: int
    dropped: int
    bytes: int
    """Of the pictures and texts written."""
    parts: int
    total_parts: int
    seconds: float


Progress: TypeAlias = Callable[[State], None]


class _Stopped(Exception):
    """Raised inside a part when the others have failed."""


class _Tally:
    """Counters that all processes share; the last one says that everybody should stop."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def add(self, documents: int, dropped: int, size: int) -> None:
        with self._shared.get_lock():
            values = self._shared.get_obj()
            if values[3]:
                raise _Stopped
            values[0] += documents
            values[1] += dropped
            values[2] += size

    def stop(self) -> None:
        self._shared[3] = 1

    def state(self, parts: int, total_parts: int, began: float) -> State:
        documents, dropped, size, _ = self._shared[:]
        return State(documents, dropped, size, parts, total_parts, time.monotonic() - began)


_tally: _Tally | None = None


def _begin(shared: Any) -> None:
    """Runs once in each process."""
    global _tally
    _tally = _Tally(shared)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _work(part: Part, folder: Path, tokenizer: Path) -> None:
    assert _tally is not None
    write_part(part, folder, tokenizer, _tally.add)


def write_parts(
    parts: Sequence[Part],
    folder_of: Callable[[Part], Path],
    tokenizer: Path,
    num_processes: int,
    finished: Callable[[Part], None],
    progress: Progress | None = None,
) -> None:
    """Writes all `parts`, each into `folder_of(part)`; `finished` is called for each in this process.

    Raises:
        UserError: a process was ended from outside; or what `write_part` raises.
    """
    context = multiprocessing.get_context("spawn")
    tally, began = _Tally(shared := context.Array("q", 4)), time.monotonic()
    if min(num_processes, len(parts)) <= 1:
        _write_here(parts, folder_of, tokenizer, finished, progress, tally)
        return
    with ProcessPoolExecutor(
        min(num_processes, len(parts)), mp_context=context, initializer=_begin, initargs=(shared,)
    ) as pool:
        todo: dict[Future[None], Part] = {pool.submit(_work, part, folder_of(part), tokenizer): part for part in parts}
        try:
            while todo:
                done, _ = wait(todo, TELL_SECONDS if progress else None, FIRST_COMPLETED)
                for future in done:
                    part = todo.pop(future)
                    future.result()
                    finished(part)
                if progress:
                    progress(tally.state(len(parts) - len(todo), len(parts), began))
        except BrokenProcessPool:
            raise UserError(
                "a process that wrote shards was ended from outside, perhaps for want of memory: run the same command "
                "with fewer --processes; it goes on from the parts that are finished"
            ) from None
        except BaseException:
            tally.stop()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def _write_here(
    parts: Sequence[Part],
    folder_of: Callable[[Part], Path],
    tokenizer: Path,
    finished: Callable[[Part], None],
    progress: Progress | None,
    tally: _Tally,
) -> None:
    """As `write_parts`, one part after another in this process."""
    began = told = time.monotonic()
    for number, part in enumerate(parts):

        def tell(documents: int, dropped: int, size: int, number: int = number) -> None:
            nonlocal told
            tally.add(documents, dropped, size)
            if progress and time.monotonic() - told >= TELL_SECONDS:
                told = time.monotonic()
                progress(tally.state(number, len(parts), began))

        write_part(part, folder_of(part), tokenizer, tell)
        finished(part)
        if progress:
            progress(tally.state(number + 1, len(parts), began))
