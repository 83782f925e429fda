"""Curves in TensorBoard or Weights & Biases while training goes on: the numbers of metrics.jsonl, line by line.

    with tracking("tensorboard", folder, "pretrain", config, step=0) as track:
        track({"step": 10, "loss": 1.2, "loss_by_source": {"web": 1.3}, …})     # loss, loss_by_source/web, …

    folder/tensorboard/     `tensorboard --logdir runs` finds it
    folder/wandb/           W&B's own files; folder/wandb.json has the run's id and the last step that it was told

A run that goes on after an interruption goes on in the same curves, without a step twice: TensorBoard is told to forget
what came after the checkpoint, W&B, which forgets nothing, is not told again what it has. WANDB_MODE, WANDB_PROJECT
("mm1" without it) and W&B's other variables mean what they always do. A tracker that cannot begin ends the run, on all
ranks; one that fails later ends nothing. Knows nothing of training.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from mm1.config import Config, UserError, to_json
from mm1.distributed.collectives import from_first_rank
from mm1.files import write_atomically
from mm1.train.progress import Say
from mm1.train.tolerance import Tolerant

Tracker: TypeAlias = Literal["tensorboard", "wandb"]
Track: TypeAlias = Callable[[Mapping[str, Any]], None]

TENSORBOARD = "tensorboard"
WANDB = "wandb.json"
REMEMBERED = 10_000


class _Tracker(Protocol):
    """One run of a tracker."""

    def track(self, record: Mapping[str, Any]) -> None:
        """Tells the tracker a line of metrics.jsonl; when it failed, the same line again."""

    def close(self, failed: bool) -> None:
        """Ends the run."""


@contextmanager
def tracking(
    tracker: Tracker | None, folder: Path, name: str, config: Config, step: int, *, leads: bool = True, say: Say = print
) -> Iterator[Track]:
    """A function that takes lines of metrics.jsonl; a collective when there are many ranks.

    A tracker that fails later, however that is, is told of in one line and tried again with each line of the log; what
    it missed is told to it then, the newest `REMEMBERED` lines at most.

    Args:
        tracker: which; None does nothing.
        folder: the stage's.
        name: of the run.
        config: what W&B keeps beside the curves.
        step: that of the checkpoint from which training goes on; 0 without one.
        leads: whether this rank is the one that tells the tracker.
        say: prints a line.

    Raises:
        UserError: the tracker could not begin; on every rank.
    """
    begun = None if tracker is None else _begin_together(tracker, folder, name, config, step, leads)
    if begun is None:
        yield lambda record: None
        return
    waiting: deque[Mapping[str, Any]] = deque(maxlen=REMEMBERED)
    telling = Tolerant(f"{tracker} could not be told the log", f"{tracker} is told the log again", say, Exception)

    def tell() -> None:
        while waiting:
            begun.track(waiting[0])
            waiting.popleft()

    def track(record: Mapping[str, Any]) -> None:
        waiting.append(record)
        telling.attempt(tell)

    failed = True
    try:
        yield track
        failed = False
    finally:
        telling.attempt(lambda: begun.close(failed))


def _begin_together(
    tracker: Tracker, folder: Path, name: str, config: Config, step: int, leads: bool
) -> _Tracker | None:
    """The run, on the rank that leads; why there is none, on all of them: else the others would wait for it."""
    begun: _Tracker | None = None
    refusal = ""
    if leads:
        try:
            begun = _TensorBoard(folder, step) if tracker == "tensorboard" else _WandB(folder, name, config)
        except UserError as error:
            refusal = str(error)
        except Exception as error:  # whatever a server, a disk or a package of another version raises
            refusal = f"{tracker} could not begin ({type(error).__name__}: {error}): repair it, or leave --track out"
    if refusal := from_first_rank(refusal):
        raise UserError(refusal)
    return begun


def check(tracker: Tracker | None) -> None:
    """That the tracker's package is there, on every rank, though one alone uses it: so none waits for another in vain.

    Raises:
        UserError: it is not.
    """
    if tracker is not None:
        _package(tracker)


def scalars(record: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """The numbers in `record`, those within it under "outer/inner"; what is null has none."""
    found: dict[str, float] = {}
    for name, value in record.items():
        if isinstance(value, Mapping):
            found |= scalars(value, f"{prefix}{name}/")
        elif isinstance(value, int | float) and prefix + name != "step":
            found[prefix + name] = float(value)
    return found


def _package(tracker: Tracker) -> Any:
    try:
        importlib.import_module(tracker)
        return importlib.import_module("torch.utils.tensorboard" if tracker == "tensorboard" else tracker)
    except ImportError:
        raise UserError(
            f"--track {tracker} needs {tracker}, which is not installed: pip install 'mm1[track]'"
        ) from None


class _TensorBoard:
    """Writes files. A writer that failed is of no use any more, so another one follows."""

    def __init__(self, folder: Path, step: int) -> None:
        self._folder = folder / TENSORBOARD
        self._writer = self._open(step + 1)

    def _open(self, purge_step: int) -> Any:
        return _package("tensorboard").SummaryWriter(str(self._folder), purge_step=purge_step)

    def track(self, record: Mapping[str, Any]) -> None:
        if self._writer is None:
            self._writer = self._open(record["step"])
        try:
            for name, value in scalars(record).items():
                self._writer.add_scalar(name, value, record["step"])
            self._writer.flush()  # a line every so many steps: it may as well be seen at once
        except Exception:
            broken, self._writer = self._writer, None
            with suppress(Exception):  # it is broken, and what it says of that was said
                broken.close()
            raise

    def close(self, failed: bool) -> None:
        if self._writer is not None:
            self._writer.close()


class _WandB:
    """Talks to W&B's own process."""

    def __init__(self, folder: Path, name: str, config: Config) -> None:
        wandb = _package("wandb")
        self._path = folder / WANDB
        self._told = _told(self._path)
        try:
            self._run = wandb.init(
                id=self._told["id"],
                resume="allow",
                name=name,
                project=os.environ.get("WANDB_PROJECT", "mm1"),
                dir=str(folder),
                config=to_json(config),
            )
        except wandb.Error as error:
            raise UserError(
                f"W&B could not begin a run ({error}): log in with `wandb login`, or set WANDB_MODE=offline"
            ) from None

    def track(self, record: Mapping[str, Any]) -> None:
        if record["step"] > self._told["step"]:
            self._run.log(scalars(record), step=record["step"])
            self._told["step"] = record["step"]
        write_atomically(self._path, json.dumps(self._told).encode())

    def close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))


def _told(path: Path) -> dict[str, Any]:
    """The id of the run in `path`, a new one if there is none, and the last step that W&B was told of it."""
    if not path.exists():
        return {"id": secrets.token_hex(8), "step": 0}
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
    except json.JSONDecodeError:
        raise UserError(f"{path} is no JSON: delete it, and a new run begins in W&B") from None
    return told
