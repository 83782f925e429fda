"""What two ranks send in a step under several layouts, every collective counted; started by test_traffic.py.

python tests/train/planning/counted.py FOLDER        # writes FOLDER/counted.json

Both ranks train on the same full rows, so that of all choices of experts together half are elsewhere, whichever they
are: what one rank sends more the other sends less.
"""

from __future__ import annotations

import functools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mm1.distributed.collectives import sum_
from mm1.distributed.mesh import World, joined
from mm1.train.layout import ParallelConfig
from mm1.train.microbatch import split
from mm1.train.objectives import build_objective
from mm1.train.parallelize import announce, reporting_traffic
from mm1.train.planning.full import full_batch
from mm1.train.run import initial_state
from mm1.train.stage import StageConfig
from tests.train.tiny import stage

RANKS, ROWS, MICROBATCHES = 2, 4, 2
MODES = ("none", "selective", "full")
DEALT = {f"dealt {mode}": ParallelConfig(experts=2, activation_checkpointing=mode) for mode in MODES}
LAYOUTS = {
    **DEALT,
    "sharded": ParallelConfig(activation_checkpointing="selective"),
    "gathered once": ParallelConfig(reshard_after_forward=False),
    "summed once": ParallelConfig(reduce_gradients="last"),
    "copies": ParallelConfig(replicate=2),
}


def stage_of(layout: ParallelConfig) -> StageConfig:
    """Two microbatches a rank."""
    return stage("moe", rows=ROWS, microbatch_rows=ROWS // RANKS // MICROBATCHES, parallel=layout)


class Counting(TorchDispatchMode):
    """Adds up what leaves this rank for others."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.sent = rank, Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if "all_to_all_single" in name and args[0].is_floating_point():  # not the numbers of rows
            rows, _, splits = args[:3]
            self.sent["all_to_all"] += (sum(splits) - splits[self.rank]) * rows.shape[1] * rows.element_size()
            self.sent["exchanges"] += 1
        elif "allgather" in name:
            self.sent["all_gather"] += args[1].nbytes * (RANKS - 1)
        elif "reduce_scatter" in name:
            self.sent["reduce_scatter"] += args[1].nbytes * (RANKS - 1) // RANKS
        elif "allreduce" in name:
            self.sent["all_reduce"] += 2 * sum(tensor.nbytes for tensor in args[0]) * (RANKS - 1) // RANKS
        return func(*args, **(kwargs or {}))


def count(world: World, layout: ParallelConfig) -> dict[str, float]:
    """Means over ranks of what is sent, and of what training reports as sent to experts."""
    config = stage_of(layout)
    state = initial_state(config, {}, world)
    batch, reported = full_batch(config, ROWS // RANKS), torch.zeros(())
    objective = build_objective(config.objective, config.loss)
    objective = reporting_traffic(objective, state.model, config.parallel, MICROBATCHES)
    tell = functools.partial(announce, config.parallel, state.model)
    with Counting(world.rank) as counting:
        for number, rows in enumerate(split(batch, config.microbatch_rows or 1), start=1):
            tell(number == MICROBATCHES)
            losses = objective(state.model, rows)
            losses.total.backward()
            reported += losses.extra.get("all_to_all_bytes", torch.zeros(())) / MICROBATCHES
    found = {"reported": float(reported), **counting.sent}
    return {name: float(sum_(torch.tensor(found.get(name, 0.0)))) / RANKS for name in NAMES}


NAMES = ("reported", "exchanges", "all_to_all", "all_gather", "reduce_scatter", "all_reduce")


def main(folder: Path) -> None:
    with joined("cpu") as world:
        found = {name: count(world, layout) for name, layout in LAYOUTS.items()}
        if world.is_first:
            (folder / "counted.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
