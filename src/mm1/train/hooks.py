"""What happens beside training: the log, checkpoints, a polite end when the machine is taken away.

    metrics.jsonl      one object a logged step; after an interruption it goes on from the checkpoint's step
    checkpoints/       the newest two
    SIGTERM, SIGINT    a checkpoint, then exit code 75 ("try again later")

Each is a hook with one method, `on_step(info)`. Knows nothing of how progress is shown.
"""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from mm1.config import UserError
from mm1.data.plan import Plan
from mm1.distributed import checkpoint
from mm1.distributed.collectives import any_rank, num_ranks
from mm1.files import write_atomically
from mm1.train.loop import StepInfo
from mm1.train.progress import Display, Say
from mm1.train.state import Totals, TrainState

EX_TEMPFAIL = 75
"""The exit code that asks to be started again (sysexits.h)."""


class Interrupted(SystemExit):
    """Training was told to stop and has saved a checkpoint; leaves the process with EX_TEMPFAIL unless caught."""

    def __init__(self, step: int) -> None:
        super().__init__(EX_TEMPFAIL)
        self.step = step


class MetricsLog:
    """Appends a line to metrics.jsonl every `every` steps and at the last one, and hands it to the display.

    A line has `step`, `loss` and `loss_by_source` (means over the targets since the line before, without auxiliary
    terms), the objective's extra values (means over microbatches since then), `learning_rate`, `grad_norm`, `fill`
    (share of positions since then that are not padding), and cumulative `tokens`, `target_tokens`,
    `target_tokens_by_source`, `images`, `seconds`, `time` by kind of work, `skipped_steps`. Microbatches whose loss is
    not finite count in `tokens` and `images` only; a mean of nothing is null.
    """

    def __init__(self, path: Path | None, *, every: int, display: Display, max_skipped: int) -> None:
        """`path` is None on the ranks that do not write; they too call `on_step`, because summing takes all."""
        self._path = path
        self._every = every
        self._display = display
        self._max_skipped = max_skipped

    def on_step(self, info: StepInfo) -> None:
        state = info.state
        if info.step % self._every == 0 or info.is_last:
            totals = state.tally.read()
            record = _record(info, totals)
            state.logged = totals
            if self._path is not None:
                with self._path.open("a") as file:
                    file.write(json.dumps(record) + "\n")
            self._display.show(record)
            self._check_skipped(record)
        self._display.advance(info.step)

    def _check_skipped(self, record: dict[str, Any]) -> None:
        if record["skipped_steps"] > self._max_skipped:
            raise UserError(
                f"{record['skipped_steps']} of {record['step']} steps had gradients that were not finite, more than "
                f"the {self._max_skipped} that max_skipped_steps allows: lower optimizer.learning_rate"
            )


def truncate_log(path: Path, step: int) -> None:
    """Drops the lines of metrics.jsonl after `step`, and a last line that was cut off in writing."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["step"] > step:
                break
        except json.JSONDecodeError:
            break
        kept.append(line + "\n")
    write_atomically(path, "".join(kept).encode())


class PlanFile:
    """Keeps what the plan has counted beside the checkpoints, so that a run that goes on need not count it again."""

    def __init__(self, folder: Path | None, plan: Plan, *, every: int) -> None:
        """`folder` is None on the ranks that do not write."""
        self._folder = folder
        self._plan = plan
        self._every = every

    def on_step(self, info: StepInfo) -> None:
        if self._folder is not None and info.step % self._every == 0:
            with info.state.clock.measure("checkpoint"):
                self._plan.save(self._folder)


class Checkpoints:
    """Saves every `every` steps, and when told to stop; the end of training saves its weights instead."""

    def __init__(self, folder: Path, *, every: int, agree_every: int, stop: StopSignal, device: torch.device) -> None:
        """With many ranks they agree on stopping every `agree_every` steps, because agreeing makes the host wait."""
        self._folder = folder
        self._every = every
        self._agree_every = agree_every
        self._stop = stop
        self._device = device

    def on_step(self, info: StepInfo) -> None:
        step = info.step
        if info.is_last:
            return
        agree = num_ranks() == 1 or step % self._agree_every == 0
        stop = agree and any_rank(self._stop.is_set, self._device)
        if stop or step % self._every == 0:
            save(info.state, self._folder)
        if stop:
            raise Interrupted(step)


def save(state: TrainState, folder: Path) -> None:
    """Writes a checkpoint of `state`; a collective when there are many ranks."""
    with state.clock.measure("checkpoint"):
        checkpoint.save(folder, state.step, state.tensors(), state.values())


def resume(state: TrainState, folder: Path, say: Say) -> None:
    """Fills `state` from the newest whole checkpoint of `folder`; leaves it as it is if there is none."""
    found = checkpoint.latest(folder, say)
    if found is not None:
        checkpoint.load(found, state.tensors())
        state.restore(found.step, found.values)
        say(f"going on from step {found.step} ({found.path})")


class StopSignal:
    """Whether SIGTERM or SIGINT has come while `listening`."""

    def __init__(self) -> None:
        self.is_set = False

    @contextmanager
    def listening(self) -> Iterator[StopSignal]:
        """Takes the signals instead of their handlers; a second SIGINT has its usual effect at once."""
        if threading.current_thread() is not threading.main_thread():
            yield self  # Python delivers signals to the main thread only: whoever runs that one has them.
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def on_signal(number: int, frame: FrameType | None) -> None:
            self.is_set = True
            signal.signal(number, before[signal.Signals(number)])

        for number in before:
            signal.signal(number, on_signal)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _record(info: StepInfo, totals: Totals) -> dict[str, Any]:
    state = info.state
    since = {name: value - state.logged.get(name, 0.0) for name, value in totals.items()}
    sources = [name.removeprefix("loss/") for name in totals if name.startswith("loss/")]
    losses = {name: _mean(since[f"loss/{name}"], since[f"targets/{name}"]) for name in sources}
    microbatches = since["microbatches"]
    extra = {name.removeprefix("extra/"): _mean(since[name], microbatches) for name in totals if "extra/" in name}
    return {
        "step": info.step,
        "loss": _mean(since["loss"], since["targets"]),
        "loss_by_source": {name: loss for name, loss in losses.items() if loss is not None},
        "target_tokens_by_source": {name: int(totals[f"targets/{name}"]) for name in sources},
        "learning_rate": info.learning_rate,
        "grad_norm": _finite(float(info.grad_norm)),
        "tokens": int(totals["tokens"]),
        "target_tokens": int(totals["targets"]),
        "images": int(totals["images"]),
        "fill": since["tokens"] / since["positions"],
        "seconds": state.clock.total(),
        "time": dict(state.clock.seconds),
        "skipped_steps": int(state.skipped),
        **extra,
    }


def _mean(total: float, count: float) -> float | None:
    return _finite(total / count) if count else None


def _finite(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None
