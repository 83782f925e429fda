"""A step: a name and a configuration → a content-addressed folder, written whole or not at all.

    step = Step(name="encoder", version=1, config={...}, inputs=(prepare,), run=train_encoder)
    folder = execute(step, root)     # root/steps/encoder-1f0c2a9b77aa, and root/encoder → there

The folder's name carries the hash of the name, version, configuration and inputs, so a finished step is skipped, a
changed one is done anew beside the old, and an interrupted one is handed its own unfinished folder to go on from.
While it runs the folder ends in `.partial`; the rename at the end is what "finished" means. The link leads to a running
step only where it led to no finished one, which another attempt must not take away. Two processes do not run one step
at once: a lock file is held. Knows nothing of torch, nor of what a step does.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mm1.config import UserError, fingerprint
from mm1.files import write_atomically

PARTIAL = ".partial"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A unit of work with a reproducible result."""

    name: str
    config: dict[str, Any]
    """Plain JSON values: everything the result depends on besides `inputs`."""
    run: Callable[[Path], None]
    """Fills the folder it is given; when called again after an interruption it goes on from what it finds there."""
    inputs: tuple[Step, ...] = ()
    version: int = 1
    """Raised by hand when the code's meaning changes, so that old results are not taken for new ones."""

    @property
    def digest(self) -> str:
        """Hash of everything the result depends on."""
        inputs = [step.digest for step in self.inputs]
        return fingerprint({"name": self.name, "version": self.version, "config": self.config, "inputs": inputs})

    def folder(self, root: Path) -> Path:
        """Where the finished result stands."""
        return root / "steps" / f"{self.name}-{self.digest[:12]}"

    def partial_folder(self, root: Path) -> Path:
        """Where it stands until then."""
        folder = self.folder(root)
        return folder.with_name(folder.name + PARTIAL)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What `execute` did."""

    folder: Path
    seconds: float
    """Time spent in this and earlier, interrupted calls; read from the record when the step was skipped."""
    skipped: bool = field(default=False)


def execute(step: Step, root: Path, store: Path | None = None, wait: bool = False) -> Outcome:
    """Runs `step` unless its result stands in the store; `root/NAME` is then a link to the folder.

    Args:
        step: what to do.
        root: the run folder, which gets the link.
        store: where results stand, `root` itself by default; several runs may share one.
        wait: wait for another process that is running the same step instead of raising.

    Raises:
        UserError: another process is running the same step.
    """
    folder = step.folder(store or root)
    root.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        _link(root / step.name, folder)
        return Outcome(folder=folder, seconds=_recorded_seconds(folder), skipped=True)
    partial = step.partial_folder(store or root)
    partial.parent.mkdir(parents=True, exist_ok=True)
    lock = partial.with_name(partial.name.removesuffix(PARTIAL) + ".lock")
    with locked(lock, f"the step '{step.name}'", wait):
        if folder.exists():  # another process finished it while this one waited
            _link(root / step.name, folder)
            return Outcome(folder=folder, seconds=_recorded_seconds(folder), skipped=True)
        partial.mkdir(exist_ok=True)
        if not _leads_to_a_result(root / step.name):
            _link(root / step.name, partial)
        earlier, began = _recorded_seconds(partial), time.monotonic()
        try:
            step.run(partial)
        finally:
            seconds = earlier + time.monotonic() - began
            _record(step, partial, seconds)
        os.replace(partial, folder)
    _link(root / step.name, folder)
    return Outcome(folder=folder, seconds=seconds)


def _record(step: Step, folder: Path, seconds: float) -> None:
    values = {
        "name": step.name,
        "version": step.version,
        "digest": step.digest,
        "seconds": seconds,
        "config": step.config,
        "inputs": {source.name: source.digest for source in step.inputs},
    }
    write_atomically(folder / "step.json", (json.dumps(values, indent=2) + "\n").encode())


def _recorded_seconds(folder: Path) -> float:
    try:
        return float(json.loads((folder / "step.json").read_text())["seconds"])
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return 0.0


def _leads_to_a_result(link: Path) -> bool:
    return link.is_symlink() and link.exists() and link.readlink().suffix != PARTIAL


def _link(link: Path, folder: Path) -> None:
    """Points `link` at `folder` in one rename, so that it always leads somewhere."""
    if link.exists() and not link.is_symlink():
        raise UserError(f"{link} is in the way: it is not a link that mm1 made; move it or choose another --out")
    temporary = link.with_name(f".{link.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(os.path.relpath(folder, link.parent))
    os.replace(temporary, link)


@contextmanager
def locked(path: Path, what: str, wait: bool = False) -> Iterator[None]:
    """Holds an exclusive lock on the file `path`; the kernel releases it however the process ends.

    Raises:
        UserError: another process has it, and is not waited for; the sentence says that it is running `what`.
    """
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(f"another process is running {what} in {path.parent}: wait for it") from None
        yield
