"""What two ranks send in a step under several layouts, every collective counted; started by test_traffic.py.

python tests/train/planning/counted.py FOLDER        # writes FOLDER/counted.json

Both ranks train on the same full rows, so that of all choices of experts together half are elsewhere, whichever they
are: what one rank sends more the other sends less. The few numbers that all agree on, targets and norm, are left out.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mm1.distributed.collectives import sum_
from mm1.distributed.mesh import World, joined
from mm1.train.layout import ParallelConfig
from mm1.train.loop import train
from mm1.train.objectives import build_objective
from mm1.train.parallelize import reporting_traffic
from mm1.train.planning.full import full_batch
from mm1.train.planning.traffic import KINDS
from mm1.train.run import initial_state, loop_config
from mm1.train.stage import StageConfig
from mm1.types import Batch, Losses
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


def stages() -> dict[str, StageConfig]:
    """Of two microbatches a rank: every layout, and a frozen image encoder."""
    usual = stage("moe", rows=ROWS, microbatch_rows=ROWS // RANKS // MICROBATCHES)
    frozen = usual.replace(optimizer=usual.optimizer.replace(kind="adamw", frozen=("image_encoder",)))
    return {**{name: usual.replace(parallel=layout) for name, layout in LAYOUTS.items()}, "frozen encoder": frozen}


class Counting(TorchDispatchMode):
    """Adds up what leaves this rank for others, and in how many calls."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self.rank, self.bytes, self.calls = rank, Counter[str](), Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func)
        if "all_to_all_single" in name and args[0].is_floating_point():  # not the numbers of rows
            rows, _, splits = args[:3]
            self._add("all_to_all", (sum(splits) - splits[self.rank]) * rows.shape[1] * rows.element_size())
        elif "allgather" in name:
            self._add("all_gather", args[1].nbytes * (RANKS - 1))
        elif "reduce_scatter" in name:
            self._add("reduce_scatter", args[1].nbytes * (RANKS - 1) // RANKS)
        elif "allreduce" in name and any(tensor.numel() > 1 for tensor in args[0]):
            self._add("all_reduce", 2 * sum(tensor.nbytes for tensor in args[0]) * (RANKS - 1) // RANKS)
        elif "all_gather_into_tensor" in name:  # of a DTensor
            self._add("update_gather", args[0].nbytes * (RANKS - 1))
        return func(*args, **(kwargs or {}))

    def _add(self, kind: str, size: int) -> None:
        self.bytes[kind] += size
        self.calls[kind] += 1


def count(world: World, config: StageConfig) -> dict[str, dict[str, float]]:
    """Means over ranks of what is sent in a step, and of what training reports as sent to experts."""
    state, batch = initial_state(config, {}, world), full_batch(config, ROWS // RANKS)
    objective = build_objective(config.objective, config.loss)
    objective = reporting_traffic(objective, state.model, config.parallel, MICROBATCHES)
    reported = torch.zeros(())

    def reporting(model: nn.Module, rows: Batch) -> Losses:
        losses = objective(model, rows)
        reported.add_(losses.extra.get("all_to_all_bytes", torch.zeros(())) / MICROBATCHES)
        return losses

    with Counting(world.rank) as counting:
        train(state, reporting, iter([batch]), replace(loop_config(config, world), steps=1))
    found = {"bytes": {**counting.bytes, "reported": float(reported)}, "calls": counting.calls}
    return {
        what: {kind: float(sum_(torch.tensor(float(counts.get(kind, 0))))) / RANKS for kind in (*KINDS, "reported")}
        for what, counts in found.items()
    }


def main(folder: Path) -> None:
    with joined("cpu") as world:
        found = {name: count(world, config) for name, config in stages().items()}
        if world.is_first:
            (folder / "counted.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
