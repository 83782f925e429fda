"""Curves in TensorBoard or Weights & Biases while training goes on: the numbers of metrics.jsonl, line by line.

    with tracking("tensorboard", folder, "pretrain", config, step=0) as track:
        track({"step": 10, "loss": 1.2, "loss_by_source": {"web": 1.3}, …})     # loss, loss_by_source/web, …

    folder/tensorboard/     `tensorboard --logdir runs` finds it
    folder/wandb/           W&B's own files; folder/wandb.json has the run's id and the last step that it was told

A run that goes on after an interruption goes on in the same curves, without a step twice: TensorBoard is told to forget
what came after the checkpoint, W&B, which forgets nothing, is not told again what it has. WANDB_MODE, WANDB_PROJECT
("mm1" without it) and W&B's other variables mean what they always do. Knows nothing of training.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mm1.config import Config, UserError, to_json
from mm1.files import write_atomically

Tracker: TypeAlias = Literal["tensorboard", "wandb"]
Track: TypeAlias = Callable[[Mapping[str, Any]], None]

TENSORBOARD = "tensorboard"
WANDB = "wandb.json"


@contextmanager
def tracking(tracker: Tracker | None, folder: Path, name: str, config: Config, step: int) -> Iterator[Track]:
    """A function that takes lines of metrics.jsonl.

    Args:
        tracker: which; None does nothing.
        folder: the stage's.
        name: of the run.
        config: what W&B keeps beside the curves.
        step: that of the checkpoint from which training goes on; 0 without one.

    Raises:
        UserError: the tracker's package is missing, or W&B could not begin.
    """
    match tracker:
        case None:
            yield lambda record: None
        case "tensorboard":
            with _tensorboard(folder / TENSORBOARD, step) as track:
                yield track
        case "wandb":
            with _wandb(folder, name, config) as track:
                yield track


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


@contextmanager
def _tensorboard(folder: Path, step: int) -> Iterator[Track]:
    writer = _package("tensorboard").SummaryWriter(str(folder), purge_step=step + 1)

    def track(record: Mapping[str, Any]) -> None:
        for name, value in scalars(record).items():
            writer.add_scalar(name, value, record["step"])
        writer.flush()  # a line every so many steps: it may as well be seen at once

    try:
        yield track
    finally:
        writer.close()


@contextmanager
def _wandb(folder: Path, name: str, config: Config) -> Iterator[Track]:
    wandb = _package("wandb")
    path = folder / WANDB
    told = _told(path)
    try:
        run = wandb.init(
            id=told["id"],
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

    def track(record: Mapping[str, Any]) -> None:
        if record["step"] > told["step"]:
            run.log(scalars(record), step=record["step"])
            told["step"] = record["step"]
            write_atomically(path, json.dumps(told).encode())

    failed = True
    try:
        yield track
        failed = False
    finally:
        run.finish(exit_code=int(failed))


def _told(path: Path) -> dict[str, Any]:
    """The id of the run in `path`, a new one if there is none, and the last step that W&B was told of it."""
    if not path.exists():
        return {"id": secrets.token_hex(8), "step": 0}
    try:
        told: dict[str, Any] = json.loads(path.read_bytes())
    except json.JSONDecodeError:
        raise UserError(f"{path} is no JSON: delete it, and a new run begins in W&B") from None
    return told
