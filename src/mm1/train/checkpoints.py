"""Checkpoints at their steps, and a polite end when the machine is taken away.

    checkpoints/       the newest two (or as many as are asked for), written while training goes on
    SIGTERM, SIGINT    after the step a checkpoint, then exit code 75 ("try again later")
    a full disk        one sentence; training goes on, and the next checkpoint is tried at its step

What ends a run must not fail in silence: a checkpoint that SIGTERM asked for and that could not be written is an error.
Knows nothing of how a checkpoint is made.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from mm1.config import UserError
from mm1.distributed import checkpoint
from mm1.distributed.checkpoint import CheckpointFailed
from mm1.distributed.collectives import any_rank, num_ranks
from mm1.distributed.saver import Saver
from mm1.train.loop import StepInfo
from mm1.train.pauses import PAUSE
from mm1.train.progress import Say
from mm1.train.state import TrainState

EX_TEMPFAIL = 75
"""The exit code that asks to be started again (sysexits.h)."""


class Interrupted(SystemExit):
    """Training was told to stop and has saved a checkpoint; leaves the process with EX_TEMPFAIL unless caught."""

    def __init__(self, step: int) -> None:
        super().__init__(EX_TEMPFAIL)
        self.step = step


class Checkpoints:
    """Saves every `every` steps, and when told to stop; the end of training saves its weights instead."""

    def __init__(
        self, saver: Saver, *, every: int, agree_every: int, stop: StopSignal, device: torch.device, say: Say
    ) -> None:
        """With many ranks they agree on stopping every `agree_every` steps, because agreeing makes the host wait."""
        self._saver = saver
        self._every = every
        self._agree_every = agree_every
        self._stop = stop
        self._device = device
        self._say = say
        self._failing = False

    def on_step(self, info: StepInfo) -> None:
        step = info.step
        if not self._saver.is_busy:
            self._finish(step)
        if info.is_last:
            with info.state.clock.measure("checkpoint"):
                self._finish(step)
            return
        agree = num_ranks() == 1 or step % self._agree_every == 0
        stop = agree and any_rank(self._stop.is_set, self._device)
        if stop or step % self._every == 0:
            with info.state.clock.measure("checkpoint"):
                self._finish(step)
                self._begin(info)
        if stop:
            self._end(step)

    def _begin(self, info: StepInfo) -> None:
        """Begins a checkpoint; training stands still while its tensors are copied."""
        values = info.state.values()  # waits for the device, which is no pause
        began = time.perf_counter()
        self._saver.begin(info.step, info.state.tensors(), values)
        if (copied := time.perf_counter() - began) > PAUSE:
            self._say(f"step {info.step} stood still for {copied:.1f} s while its checkpoint was copied to memory")

    def _finish(self, step: int) -> None:
        """Waits for the checkpoint in flight, and says what is worth knowing of it."""
        began, busy = time.perf_counter(), self._saver.is_busy
        try:
            written = self._saver.wait()
        except CheckpointFailed as failed:
            if not self._failing:
                self._say(
                    f"the checkpoint of step {self._saver.step} could not be written ({failed}): training goes on and "
                    f"tries again every {self._every} steps; make room before it is interrupted"
                )
            self._failing = True
            return
        if written and self._failing:
            self._say(f"checkpoints are written again: that of step {self._saver.step} is the newest")
            self._failing = False
        if busy and (waited := time.perf_counter() - began) > PAUSE:
            self._say(
                f"step {step} waited {waited:.0f} s until the checkpoint of step {self._saver.step} was written: "
                "raise checkpoint_every, or write to faster storage"
            )

    def _end(self, step: int) -> None:
        try:
            self._saver.wait()
        except CheckpointFailed as failed:
            raise UserError(
                f"training was told to stop after step {step}, but its checkpoint could not be written ({failed}): "
                "make room; the same command goes on from the checkpoint before"
            ) from None
        raise Interrupted(step)


def resume(state: TrainState, folder: Path, say: Say) -> None:
    """Fills `state` from the newest whole checkpoint of `folder`; leaves it as it is if there is none."""
    found = checkpoint.latest(folder, say)
    if found is not None:
        checkpoint.load(found, state.tensors())
        state.restore(found.step, found.values)
        say(f"going on from step {found.step} ({found.path})")


class StopSignal:
    """Whether SIGTERM or SIGINT has come since the first step of this process; a hook that comes first.

    Before there is nothing to save, so they have their usual effect, and at once: compiling and the first batch may
    take minutes. A second signal of a kind has its usual effect too.
    """

    def __init__(self) -> None:
        self._came: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    @contextmanager
    def listening(self) -> Iterator[StopSignal]:
        """Gives the handlers back in the end. A signal that came when nobody looked any more has its effect then."""
        try:
            yield self
        except BaseException:
            self._give_back()
            raise
        self._give_back()
        if self._came is not None:
            signal.raise_signal(self._came)

    @property
    def is_set(self) -> bool:
        return self._came is not None

    def on_step(self, info: StepInfo) -> None:
        # Python delivers signals to the main thread only: whoever runs that one has them.
        if not self._before and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._came = signal.Signals(number)
        signal.signal(number, self._before[self._came])

    def _give_back(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
