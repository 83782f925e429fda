"""A trace of a few steps: where their time went, operation by operation, on the host and on the device.

    run_stage(…, hooks=[Profile(folder, say)])      # folder/trace.json.gz, for chrome://tracing or ui.perfetto.dev

Three steps are let go by first, in which memory is claimed and kernels are chosen. Steps that are traced take longer,
and the host waits for the device where they begin and end; weights are the same. A trace that cannot be made or written
is told of, and ends nothing. Knows nothing of what a step does.
"""

from __future__ import annotations

import os
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from mm1.train.loop import StepInfo
from mm1.train.progress import Say
from mm1.train.tolerance import reason

TRACE = "trace.json.gz"


class Profile:
    """A hook that traces the steps (`after`, `after` + `steps`] of this process, once."""

    def __init__(self, folder: Path, say: Say, *, steps: int = 3, after: int = 3) -> None:
        """`folder` gets the trace."""
        self._folder, self._say = folder, say
        self._begin, self._end = after, after + steps
        self._seen = 0
        self._profile: profile | None = None

    def on_step(self, info: StepInfo) -> None:
        self._seen += 1
        if info.is_last and self._seen <= self._begin:
            self._say(f"no trace: it begins after {self._begin} steps, and this start had {self._seen} to do")
        elif self._seen == self._begin:
            self._profile = _started()
        elif self._profile is not None and (self._seen == self._end or info.is_last):
            self._profile.stop()
            self._write(self._profile, info.step)
            self._profile = None

    def _write(self, trace: profile, step: int) -> None:
        path = self._folder / TRACE
        try:
            trace.export_chrome_trace(str(path))
        except OSError as error:
            path.unlink(missing_ok=True)
            self._say(f"{path} could not be written ({reason(error)}): training goes on without a trace")
        else:
            steps = self._seen - self._begin
            self._say(f"{TRACE} in the stage's folder: {steps} step{'s' * (steps > 1)} up to step {step}")


def _started() -> profile:
    # The profiler's own library would write lines of its own into the progress bar.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
    # One cycle has all events either way; torch 2.11 warns unless it is told to keep them.
    started = profile(activities=[ProfilerActivity.CPU, *cuda], acc_events=True)
    started.start()
    return started
