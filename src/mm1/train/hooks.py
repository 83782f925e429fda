"""What is written down while training goes on.

    metrics.jsonl      one object a logged step; after an interruption it goes on from the checkpoint's step
    plan.npz           what the plan has counted, beside the checkpoints

Each is a hook with one method, `on_step(info)`. A full disk delays both and ends nothing.
Knows nothing of checkpoints, nor of how progress is shown.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from mm1.config import UserError
from mm1.data.plan import Plan
from mm1.files import write_atomically
from mm1.train.loop import StepInfo
from mm1.train.progress import Display, Say
from mm1.train.speed import UNKNOWN, Speed
from mm1.train.state import Totals
from mm1.train.tolerance import Lines, Tolerant
from mm1.train.tracking import Track


class MetricsLog:
    """Appends a line to metrics.jsonl every `every` steps and at the last one, and hands it to display and tracker.

    A line has `step`, `loss` and `loss_by_source` (means over the targets since the line before, without auxiliary
    terms), the objective's extra values (means over microbatches since then), `learning_rate`, `grad_norm`, `padding`
    (share of positions computed since then in which nothing stands), `flops_per_second` (operations that the model
    needs, by real lengths, of all ranks since then; of the wall's seconds), `mfu` (their share of the devices' peak),
    `data_pauses` (seconds of ranks since then in long waits for data), and cumulative `tokens`, `target_tokens`,
    `target_tokens_by_source`, `images`, `flops` by part, `seconds`, `time` by kind of work, `skipped_steps`.
    Microbatches whose loss is not finite count in `tokens`, `images` and `flops` only; a mean of nothing is null, and
    so is what is not known.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        every: int,
        display: Display,
        max_skipped: int,
        speed: Speed = UNKNOWN,
        track: Track | None = None,
        say: Say = print,
    ) -> None:
        """`path` is None on the ranks that do not write; they too call `on_step`, because summing takes all."""
        self._lines = None if path is None else Lines(path, say)
        self._every = every
        self._display = display
        self._max_skipped = max_skipped
        self._speed = speed
        self._track = track

    def on_step(self, info: StepInfo) -> None:
        state = info.state
        if info.step % self._every == 0 or info.is_last:
            # The clock is read when the device has done what was counted.
            totals = {
                **state.tally.read(),
                "steps": info.step,
                "seconds": state.clock.total(),
                "waited": state.clock.seconds["data"],
            }
            since = {name: value - state.logged.get(name, 0.0) for name, value in totals.items()}
            record = _record(info, totals, since, self._speed)
            state.logged = totals
            if self._lines is not None:
                self._lines.append(json.dumps(record))
            self._display.show(record, since)
            if self._track is not None:
                self._track(record)
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

    def __init__(self, folder: Path | None, plan: Plan, *, every: int, say: Say = print) -> None:
        """`folder` is None on the ranks that do not write."""
        self._folder = folder
        self._writing = Tolerant(
            "what the plan has counted could not be kept", "what the plan counts is kept again", say
        )
        self._plan = plan
        self._every = every

    def on_step(self, info: StepInfo) -> None:
        folder = self._folder
        if folder is not None and info.step % self._every == 0:
            with info.state.clock.measure("checkpoint"):
                self._writing.attempt(lambda: self._plan.save(folder))


def _record(info: StepInfo, totals: Totals, since: Totals, speed: Speed) -> dict[str, Any]:
    """A line; `since` is what was added to `totals` since the line before."""
    state = info.state
    sources = [name.removeprefix("loss/") for name in totals if name.startswith("loss/")]
    losses = {name: _mean(since[f"loss/{name}"], since[f"targets/{name}"]) for name in sources}
    microbatches, flops = since["microbatches"], speed.flops(since)
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
        "padding": 1 - since["tokens"] / since["positions"],
        "flops": speed.flops(totals),
        "flops_per_second": None if flops is None else flops["total"] / since["seconds"],
        "mfu": None if flops is None else speed.mfu(flops["total"], since["seconds"]),
        "data_pauses": since["data_pauses"],
        "seconds": totals["seconds"],
        "time": dict(state.clock.seconds),
        "skipped_steps": int(state.skipped),
        **extra,
    }


def _mean(total: float, count: float) -> float | None:
    return _finite(total / count) if count else None


def _finite(value: float) -> float | None:
    """JSON knows no NaN."""
    return value if math.isfinite(value) else None
