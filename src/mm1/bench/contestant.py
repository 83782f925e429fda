"""What a measurement needs of a contestant: a description, and a repetition that tells how long it took.

Knows nothing of who the contestants are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a contestant is and how it reads the documents."""

    name: str
    parameters: dict[str, int]
    """By part, and "total"."""
    image_tokens: int
    """Decoder positions an image."""
    optimizer: str
    precision: str
    batch: str
    """A batch's shape, in words."""
    steps: int
    """Optimizer steps a repetition."""
    positions: int
    """Decoder positions that are computed in a repetition, padding included."""
    filled: int
    """Those among them that hold a text or image token."""
    tried: dict[str, float] = field(default_factory=dict)
    """Seconds of the trial by setting, where a setting was chosen by measuring."""

    @property
    def fill(self) -> float:
        """Share of the positions that is not padding."""
        return self.filled / self.positions


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """One repetition."""

    seconds: float
    cpu_seconds: float
    """Of all this process's threads: far below `seconds` x threads, something else had the processor."""
    data_seconds: float | None = None
    """Part of `seconds` spent on making batches; None where they were made beforehand."""


class Contestant(Protocol):
    """Trains on the documents of the measurement, all of them in every repetition."""

    @property
    def description(self) -> Description: ...

    def warm_up(self) -> None:
        """One step, or what it takes to be as fast as ever after."""
        ...

    def run(self) -> Timing:
        """One repetition."""
        ...


def timed(work: Callable[[], None], device: torch.device) -> Timing:
    """How long `work` takes until the device has finished it."""
    _wait_for(device)
    began, cpu_began = time.perf_counter(), time.process_time()
    work()
    _wait_for(device)
    return Timing(seconds=time.perf_counter() - began, cpu_seconds=time.process_time() - cpu_began)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
