"""A plan for this machine's CPU, in which every kernel of a step is timed before the step is run.

    make_cpu_plan(stage).step_seconds

No table says how fast a CPU multiplies matrices of which shape, so the kernels of the trace are run once each
(`calibrate.py`), the optimizer on one parameter of every shape. Training on the CPU takes plain attention in bfloat16,
and so does the plan. Knows nothing of accelerators.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable

import torch

from mm1.config import UserError
from mm1.distributed.mesh import CPU
from mm1.train.layout import ParallelConfig
from mm1.train.loop import normalise_gradients
from mm1.train.muon import Muon
from mm1.train.parallelize import resolve_precision
from mm1.train.planning.calibrate import Kernels, now
from mm1.train.planning.hardware import Hardware
from mm1.train.planning.memory import Memory
from mm1.train.planning.pieces import Piece
from mm1.train.planning.plan import Plan
from mm1.train.planning.planner import Planner
from mm1.train.planning.timing import StepTime
from mm1.train.planning.trace import Operation
from mm1.train.planning.traffic import Traffic
from mm1.train.run import deterministic
from mm1.train.stage import StageConfig

SIDE = 1024
"""Of the square matrices by whose product the peak is taken."""
PROCESS_BYTES = 30e6
"""By which a process grows beside its tensors: kernels compiled on the spot, their scratch memory, Python's objects. Of
the shapes of `mm1 bench step` it was 15 to 36 million."""
SAMPLE = 2**22
"""Parameters on which AdamW and clipping are timed."""


def make_cpu_plan(stage: StageConfig) -> Plan:
    """The plan of one process here, on as many threads as PyTorch has, in the stage's own layout.

    Raises:
        UserError: a layout of several processes, or whose rows do not divide the batch; compiled blocks, whose kernels
            are not known; a stage that is no next-token stage; a precision that this CPU has not.
    """
    if stage.parallel.compile:
        raise UserError("--gpu cpu times kernels one by one, but parallel.compile=true makes others: leave it out")
    with deterministic():
        return CpuPlanner(stage).plan(stage, 1)


class CpuPlanner(Planner):
    """Plans of one stage on this machine."""

    fused_attention = False

    def __init__(self, stage: StageConfig) -> None:
        bf16 = resolve_precision(stage.precision, CPU) == "bf16"
        super().__init__(stage, this_cpu(bf16), asked=1)
        self.bf16, self.searches = bf16, False
        self._kernels = Kernels()

    def reserved(self, needed: Memory, parallel: ParallelConfig, devices: int) -> float:
        return PROCESS_BYTES

    def time(self, stage: StageConfig, devices: int, pieces: list[Piece], travels: Traffic) -> StepTime:
        """Of a step, from its kernels'."""
        times = stage.data.rows // stage.rows_at_once(devices)
        seconds = {**{f"compute_{piece.part}": 0.0 for piece in pieces}, "recompute": 0.0}
        for piece in pieces:
            repeats = times * piece.repeats
            seconds[f"compute_{piece.part}"] += repeats * self._kernels.seconds(piece.cost.operations)
            seconds["recompute"] += repeats * self._kernels.seconds(computed_twice(piece, stage.parallel))
        return StepTime(seconds={**seconds, "optimizer": optimizer_seconds(pieces, self.bf16)})


def computed_twice(piece: Piece, parallel: ParallelConfig) -> list[Operation]:
    """Operations of a forward that the backward does again."""
    match piece.checkpointing(parallel):
        case "none":
            return []
        case "selective":
            return [one for one in piece.cost.forward if one.kind == "other"]
        case "full":
            return piece.cost.forward


def this_cpu(bf16: bool) -> Hardware:
    """What one large product reaches here is the peak."""
    dtype = torch.bfloat16 if bf16 else torch.float32
    a, b = torch.randn(SIDE, SIDE, dtype=dtype), torch.randn(SIDE, SIDE, dtype=dtype)
    rate = 2 * SIDE**3 / _median(lambda: a @ b)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Hardware(
        name="cpu",
        products=rate,
        float32_products=rate,
        memory=float(memory),
        bandwidth=float("inf"),
        link=float("inf"),
        network=float("inf"),
    )


def optimizer_seconds(found: list[Piece], bf16: bool) -> float:
    """Of clipping and of moving every parameter."""
    shapes: dict[tuple[int, int], int] = {}
    trained = sum(piece.trained * piece.repeats for piece in found)
    for piece in found:
        for shape in piece.matrices:
            shapes[shape] = shapes.get(shape, 0) + piece.repeats
    in_muon = sum(rows * columns * times for (rows, columns), times in shapes.items())
    sample = torch.nn.Parameter(torch.randn(SAMPLE))
    adamw = torch.optim.AdamW([sample], fused=True)
    adamw.found_inf = torch.zeros(())  # type: ignore[attr-defined]
    sample.grad = torch.randn(SAMPLE)
    clipping = _median(lambda: normalise_gradients([sample], torch.ones(()), 1.0)) / SAMPLE
    moving = _median(adamw.step) / SAMPLE
    dtype = torch.bfloat16 if bf16 else torch.float32
    muon = sum(times * _muon_seconds(shape, dtype) for shape, times in shapes.items())
    return clipping * trained + moving * (trained - in_muon) + muon


def _muon_seconds(shape: tuple[int, int], dtype: torch.dtype) -> float:
    parameter = torch.nn.Parameter(torch.randn(shape))
    parameter.grad = torch.randn(shape)
    optimizer = Muon([parameter], momentum=0.95, dtype=dtype)
    optimizer.state[parameter]["momentum_buffer"] = torch.zeros(shape)
    optimizer.found_inf = torch.zeros(())
    return _median(optimizer.step)


def _median(work: Callable[[], object], times: int = 5) -> float:
    work()
    taken = []
    for _ in range(times):
        began = now()
        work()
        taken.append(now() - began)
    return statistics.median(taken)
