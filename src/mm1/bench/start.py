"""How long it takes until training goes: from the command, and from a kill to the first step that is new.

    torchrun … mm1 train tiny --smoke          first: the command → the line of step 1
      … checkpoint … steps … SIGKILL
    torchrun … mm1 train tiny --smoke          resumed: the kill → the line of the step after the checkpoint's

The data are prepared beforehand. Interpreter, imports, process group, model, plan, the checkpoint's digest and its
tensors are all in it. Knows the lines that training prints where nobody watches.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mm1.bench import ranks
from mm1.chain.run import prepare_step
from mm1.config import UserError
from mm1.recipes.smoke import smoke
from mm1.recipes.tiny import tiny
from mm1.steps import execute

STEP = re.compile(r"^pretrain +(\d+)/\d+ · ")
OVERRIDES = ("init={}", "log_every=1", "checkpoint_every=4", "steps=1000000")


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Medians, in seconds."""

    processes: int
    first: float
    """From the command to the end of the first step."""
    resumed: float
    """From the kill to the end of the first step after it."""


def measure_start(processes: int, repetitions: int, say: Callable[[str], None]) -> Start:
    """Starts and kills the tiny recipe's pretraining `repetitions` times, each in a folder of its own.

    Raises:
        UserError: training ended by itself; what it said last is in the sentence.
    """
    first, resumed = [], []
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory() as folder:
            execute(prepare_step(smoke(tiny()), lambda line: None), Path(folder))
            seconds, step, killed = _train_and_kill(processes, Path(folder), time.perf_counter(), checkpoint=True)
            first.append(seconds)
            seconds, again, _ = _train_and_kill(processes, Path(folder), killed, checkpoint=False)
            assert 1 < again <= step + 1, f"step {again} came after a kill in step {step}"
            resumed.append(seconds)
        say(f"{processes} processes: first step after {first[-1]:.1f} s, the next after a kill {resumed[-1]:.1f} s")
    return Start(processes=processes, first=statistics.median(first), resumed=statistics.median(resumed))


def _train_and_kill(processes: int, folder: Path, began: float, *, checkpoint: bool) -> tuple[float, int, float]:
    """(seconds from `began` to the first step, the step killed in, the moment of the kill)."""
    overrides = [f"pretrain.{change}" for change in OVERRIDES]
    command = ["train", "tiny", "--smoke", "--stage", "pretrain", "--out", str(folder), *overrides]
    with ranks.started(processes, "mm1.cli", command) as launched:
        step = _next_step(launched)
        seconds = time.perf_counter() - began
        while checkpoint and not any(folder.glob("steps/*pretrain*/checkpoints/step-*")):
            step = _next_step(launched)
        killed = time.perf_counter()
        ranks.kill(launched)
    return seconds, step, killed


def _next_step(launched: subprocess.Popen[str]) -> int:
    """That of the next line which tells of one."""
    said = []
    assert launched.stdout is not None
    for line in launched.stdout:
        said.append(line)
        if found := STEP.match(line):
            return int(found.group(1))
    raise UserError(f"training ended by itself with code {launched.wait()}: {''.join(said[-30:])}")
