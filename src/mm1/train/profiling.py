"""A trace of a few steps: where their time went, operation by operation, on the host and on the device.

    run_stage(…, hooks=[Profile(folder, say)])      # folder/trace.json.gz, for chrome://tracing or ui.perfetto.dev

Three steps are let go by first, in which memory is claimed and kernels are chosen. Steps that are traced take longer,
and the host waits for the device where they begin and end; weights are the same. Knows nothing of what a step does.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from mm1.train.loop import StepInfo
from mm1.train.progress import Say

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
        if self._seen == self._begin and not info.is_last:
            cuda = [ProfilerActivity.CUDA] if torch.cuda.is_available() else []
            # One cycle has all events either way; torch 2.11 warns unless it is told to keep them.
            self._profile = profile(activities=[ProfilerActivity.CPU, *cuda], acc_events=True)
            self._profile.start()
        elif self._profile is not None and (self._seen == self._end or info.is_last):
            self._profile.stop()
            self._profile.export_chrome_trace(str(self._folder / TRACE))
            self._say(f"{TRACE} in the stage's folder: {self._seen - self._begin} steps up to step {info.step}")
            self._profile = None
