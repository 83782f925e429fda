"""Work over many parts, on this machine or on a cluster, through daft.

    counts = map_parts(extract, parts, folder, runner)
    #   folder/NAME/…, counts.json     what extract(part, folder) wrote for the part of that name, whole or not at all

Each part is worked on by one call in one process, which writes its own folder, so files are the same on every runner
and do not depend on the number of processes; parts whose folders stand are not done again. Knows nothing of pages,
images or texts. Questions over all parts are groups.py's.
"""

from __future__ import annotations

import errno
import gc
import json
import os
import pickle
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from mm1.config import UserError
from mm1.curation.memory import give_back
from mm1.curation.runner import Runner, cpus_of, start
from mm1.files import write_atomically

COUNTS = "counts.json"
"""In each part's folder: what its call returned."""
_STOP = "stop"
"""A file in the folder of all parts: one has failed, and those not begun are not to be."""
_PARTITIONS_A_PROCESS = 32
"""On Ray a part travels in a partition; several a process, so that none waits long for the last."""

Values: TypeAlias = dict[str, Any]
"""Plain JSON values."""


class Named(Protocol):
    """What a part must have; it is pickled as well."""

    @property
    def name(self) -> str:
        """Of its folder; no two parts have the same."""
        ...


Work: TypeAlias = Callable[[Any, Path], Values]
"""From a part and an empty folder to counts; it fills the folder. Picklable: a function of a module, or a partial."""

Progress: TypeAlias = Callable[[int, int, Values], None]
"""Called with the number of finished parts, of all parts, and the counts of one that was finished just now; at the
start, where none is, with {}."""


@dataclass(frozen=True)
class _Task:
    """One part's call, as it travels to a process."""

    work: Work
    folder: Path
    parent: int | None
    """The process that must be alive, where it is on this machine."""

    def __call__(self, part: Named) -> str:
        """JSON: {"name", "counts"}, {"name", "error", "kind"}, or {"name"} for a part that was not begun."""
        if self.parent is not None:
            _follow(self.parent)
        if (self.folder / _STOP).exists():
            return json.dumps({"name": part.name})
        try:
            return json.dumps({"name": part.name, "counts": _do(self.work, part, self.folder)})
        except UserError as error:
            return json.dumps({"name": part.name, "error": str(error), "kind": "user"})
        except OSError as error:  # no room most of all; what wrote may not know where
            where = error.filename or str(self.folder)
            what = error.strerror or str(error)
            return json.dumps({"name": part.name, "error": [error.errno or errno.EIO, what, where], "kind": "system"})
        except Exception:
            return json.dumps({"name": part.name, "error": traceback.format_exc(), "kind": "bug"})


def _do(work: Work, part: Named, folder: Path) -> Values:
    partial = folder / f".{part.name}.{os.uname().nodename}.{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        counts = work(part, partial)
        write_atomically(partial / COUNTS, (json.dumps(counts, indent=1) + "\n").encode())
        try:
            os.replace(partial, folder / part.name)
        except OSError:  # Ray tried it again elsewhere, and that one was finished first
            if not (folder / part.name / COUNTS).exists():
                raise
        return counts
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        give_back()


_followed = False


def _follow(parent: int) -> None:
    """Ends this process when `parent` has ended, however that was: two runs must not be at one folder."""
    global _followed
    if _followed or os.getpid() == parent:
        return
    _followed = True

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def map_parts(
    work: Work, parts: Sequence[Named], folder: Path, runner: Runner, progress: Progress | None = None
) -> list[Values]:
    """Calls `work` once for each part that has no folder yet; returns the counts of all, in the order of `parts`.

    Raises:
        UserError: `work` raised one, or a process was ended from outside; what is finished stays.
        OSError: `work` raised one; it names a path.
        RuntimeError: `work` raised something else; its traceback is inside.
    """
    names = [part.name for part in parts]
    assert len(set(names)) == len(names), "two parts of one name"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)
    (folder / _STOP).unlink(missing_ok=True)
    counts = {name: read_counts(folder / name) for name in names if (folder / name / COUNTS).exists()}
    todo = [part for part in parts if part.name not in counts]
    if progress:
        if todo and not counts:  # how many there are is of use before the first is finished
            progress(0, len(parts), {})
        for number, found in enumerate(list(counts.values())):
            progress(number + 1, len(parts), found)
    failed: dict[str, Any] | None = None
    for result in _results(work, todo, folder, runner):
        if "counts" in result:
            counts[result["name"]] = result["counts"]
            if progress:
                progress(len(counts), len(parts), result["counts"])
        elif "error" in result and failed is None:
            failed = result
            write_atomically(folder / _STOP, b"")
    (folder / _STOP).unlink(missing_ok=True)
    if failed is not None:
        if failed["kind"] == "user":
            raise UserError(failed["error"])
        if failed["kind"] == "system":
            raise OSError(*failed["error"])
        raise RuntimeError(f"part {failed['name']}:\n{failed['error']}")
    return [counts[name] for name in names]


def read_counts(folder: Path) -> Values:
    """What the call that wrote a part's folder returned."""
    counts: Values = json.loads((folder / COUNTS).read_text())
    return counts


def _results(work: Work, todo: Sequence[Named], folder: Path, runner: Runner) -> Iterator[dict[str, Any]]:
    """What `_Task` says of each part, as it comes."""
    if not todo:
        return
    if runner.ray is None and min(runner.processes, len(todo)) == 1:
        task = _Task(work, folder, None)
        for part in todo:
            yield json.loads(task(part))
        return
    daft = start(runner)
    task = _Task(work, folder, os.getpid() if runner.ray is None else None)

    class Worker:
        def __init__(self, pickled: bytes) -> None:
            self.task: _Task = pickle.loads(pickled)

        @daft.method.batch(return_dtype=daft.DataType.string(), batch_size=1)  # type: ignore[untyped-decorator]
        def each(self, parts: Any) -> list[str]:
            return [self.task(pickle.loads(part)) for part in parts.to_pylist()]

    processes = min(runner.processes, len(todo))
    if runner.ray is not None:  # daft waits for processes that no machine has room for, and then gives up
        processes = min(processes, cpus_of(runner.ray))
    worker = daft.cls(Worker, use_process=runner.ray is None, max_concurrency=processes)(pickle.dumps(task))
    frame = daft.from_pydict({"part": [pickle.dumps(part) for part in todo]})
    if runner.ray is not None:
        frame = frame.into_partitions(min(len(todo), processes * _PARTITIONS_A_PROCESS))
    told = 0
    for row in _rows(frame.select(worker.each(frame["part"]).alias("result"))):
        told += 1
        yield json.loads(row["result"])
    if told < len(todo):  # an interrupt that daft met itself: its rows end as if there were no more (seen under load)
        raise KeyboardInterrupt


def _rows(frame: Any) -> Iterator[dict[str, Any]]:
    rows = frame.iter_rows(results_buffer_size=1)
    hook = sys.unraisablehook
    try:
        yield from rows
        return
    except RuntimeError as error:
        if "UDF process" not in str(error):
            raise
        raise UserError(
            "a process was ended from outside, perhaps for want of memory: run the same command with fewer "
            "--processes; it goes on from the parts that are finished"
        ) from None
    except KeyboardInterrupt:
        sys.unraisablehook = lambda _: None
    # What daft leaves open complains when it is thrown away, which is as soon as the interrupt that holds it is gone.
    # A user could do nothing about it.
    del rows, frame
    gc.collect()
    sys.unraisablehook = hook
    raise KeyboardInterrupt
