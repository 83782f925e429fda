"""One process of a run of `mm1 bench geometry`: trains to the stage's end, or stops on the way by SIGTERM.

    python -m mm1.bench.geometry_leg STAGE.json FOLDER LEG.json DEVICE STOP      # code 75 after step STOP; 0: never

LEG.json gets what only this process knows: when its first step was done, and how much memory it took at most. Knows
nothing of what is made of it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch

from mm1.bench.geometry import sources_of, tokenizer_at
from mm1.config import UserError, load_json
from mm1.train.loop import StepInfo
from mm1.train.run import run_stage
from mm1.train.stage import StageConfig


class Leg:
    """A hook that notes the first step and asks for an end after step `stop`."""

    def __init__(self, path: Path, stop: int) -> None:
        self._path, self._stop = path, stop
        self._first: dict[str, Any] | None = None

    def on_step(self, info: StepInfo) -> None:
        if self._first is None:
            info.grad_norm.item()  # the device has done the step when its value is here
            self._first = {"first_step": info.step, "first_step_at": time.time()}
        if info.step == self._stop or info.is_last:
            values = {**self._first, "last_step": info.step, "peak_bytes": _peak(info.grad_norm.device)}
            self._path.write_text(json.dumps(values))
        if info.step == self._stop:
            os.kill(os.getpid(), signal.SIGTERM)


def _peak(device: torch.device) -> int:
    """Bytes that tensors took at most, on the device; of the whole process on the CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) * 1024


def main(arguments: list[str]) -> None:
    """Trains."""
    stage_path, folder, leg, device, stop = arguments
    stage = load_json(StageConfig, Path(stage_path))
    tokenizer = tokenizer_at(Path(folder).with_name("tokenizer.json"))
    Path(folder).mkdir(exist_ok=True)
    hooks = [Leg(Path(leg), int(stop))]
    run_stage(stage, Path(folder), sources_of(stage, tokenizer), tokenizer, hooks=hooks, device=device)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"mm1: {error}")
