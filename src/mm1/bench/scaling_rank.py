"""One of the processes that `mm1 bench scaling` starts: trains, and says where each step's time went.

    python -m torch.distributed.run --nproc-per-node 2 -m mm1.bench.scaling_rank OUT.json STEPS ROWS

The thread that trains either computes, or stands in line for a processor, or waits: the kernel knows the first two, and
what is left of a step is waiting for other ranks and for bytes on their way. Knows nothing of what is made of it.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from mm1.bench.documents import head_of_sources
from mm1.chain.prepare import TOKENIZER, train_on_heads
from mm1.data.encode import DocumentEncoder
from mm1.distributed.collectives import gather_objects, wait_for_all
from mm1.distributed.mesh import joined
from mm1.recipes.tiny import tiny
from mm1.train.loop import StepInfo, train
from mm1.train.objectives import build_objective
from mm1.train.run import build_loader, deterministic, initial_state, loop_config

WARM_UP = 3
"""Steps that are not counted."""
DOCUMENTS = 128
"""Held of each source; one from which more are read begins again."""


class Meter:
    """A hook that notes after every step how long this thread computed and stood in line."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float, float]] = []
        """(seconds, computed, stood in line, computed by this process's other threads), one a step."""
        self._last = _now()

    def on_step(self, info: StepInfo) -> None:
        now = _now()
        seconds, own, queued, process = (new - old for new, old in zip(now, self._last, strict=True))
        self.rows.append((seconds, own, queued, process - own))
        self._last = now


def _now() -> tuple[float, float, float, float]:
    with open("/proc/thread-self/schedstat") as file:
        queued = int(file.read().split()[1]) / 1e9
    return time.perf_counter(), time.thread_time(), queued, time.process_time()


def measure(steps: int, rows: int) -> dict[str, Any]:
    """Trains the tiny recipe's pretraining with `rows` rows a rank; on every rank: tokens, and all ranks' meters."""
    with joined("cpu") as world, tempfile.TemporaryDirectory() as folder:
        recipe = tiny()
        stage = recipe.pretrain.replace(init={}, num_workers=0)
        stage = stage.replace(data=stage.data.replace(rows=rows * world.size))
        tokenizer = train_on_heads(recipe.prepare, Path(folder) / TOKENIZER)
        encoder = DocumentEncoder(tokenizer, stage.model.num_image_tokens, stage.data.image_size)
        sources = head_of_sources(recipe.prepare, list(stage.data.mixture.shares()), encoder, DOCUMENTS)
        batches = build_loader(stage, sources, tokenizer).batches(0, WARM_UP + steps, world.rank, world.size)
        state, objective = initial_state(stage, {}, world), build_objective(stage.objective, stage.loss)
        loop = loop_config(stage, world)
        with deterministic():
            train(state, objective, batches, replace(loop, steps=WARM_UP))
            before = state.tally.read()
            wait_for_all()
            meter = Meter()
            train(state, objective, batches, replace(loop, steps=WARM_UP + steps), [meter])
        return {"tokens": state.tally.read()["tokens"] - before["tokens"], "ranks": gather_objects(meter.rows)}


if __name__ == "__main__":
    path, number, each = sys.argv[1:]
    found = measure(int(number), int(each))
    if os.environ["RANK"] == "0":
        Path(path).write_text(json.dumps(found))
