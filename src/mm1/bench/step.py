"""`mm1 bench step`: what `mm1 plan --gpu cpu` says of a step beside what the step takes, for models of several shapes.

    plan (this process)      kernels timed one by one, allocations of a trace
    step (a process each)    memory that the system says the process came to hold; time of whole steps

Memory and time are measured in two processes, because memory is seen best where the allocator gives back at once what
is freed, which is slow. Knows nothing of how the figures are shown.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import PositiveInt
from rich.table import Table

from mm1.bench.children import environment
from mm1.config import Config, UserError, from_json, to_json
from mm1.data.plan import DataConfig, GroupConfig, MixtureConfig, SourceConfig
from mm1.distributed.mesh import World
from mm1.models.connector import AttentionPoolConfig, AvgPoolConfig, CAbstractorConfig
from mm1.models.decoder import DecoderConfig
from mm1.models.image_encoder import ImageEncoderConfig
from mm1.models.mm1 import MM1Config
from mm1.models.moe import MoEConfig
from mm1.recipes.tiny import tiny
from mm1.train.loop import train
from mm1.train.objectives import build_objective
from mm1.train.optimizer import OptimizerConfig
from mm1.train.planning.calibrate import now
from mm1.train.planning.cpu import make_cpu_plan
from mm1.train.planning.full import full_batch
from mm1.train.run import deterministic, initial_state, loop_config
from mm1.train.stage import StageConfig

MEMORY_WITHIN, TIME_WITHIN = 0.10, 0.20
"""What a plan promises."""
GIVES_BACK = {
    "MALLOC_MMAP_THRESHOLD_": "65536",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1",
}
"""For glibc: whatever is larger is returned to the system when it is freed. For oneDNN: of the kernels that it
compiles, one for every number of rows that an expert ever gets, it keeps none. They are no part of a step: they become
more from step to step, up to a thousand."""


class StepBenchConfig(Config):
    """How much is measured."""

    repetitions: PositiveInt = 5
    """Steps that are timed, after one that is not."""
    shapes: tuple[str, ...] = ()
    """Names in `stages()`; () takes all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One shape; bytes and seconds."""

    name: str
    parameters: int
    planned_bytes: float
    bytes: float
    planned_seconds: float
    seconds: float

    @property
    def memory_error(self) -> float:
        """Of the plan, as a share of what was measured."""
        return self.planned_bytes / self.bytes - 1

    @property
    def time_error(self) -> float:
        return self.planned_seconds / self.seconds - 1


def bench_step(config: StepBenchConfig, say: Callable[[str], None]) -> list[Row]:
    """Plans, then measures.

    Raises:
        UserError: an unknown shape.
    """
    found = stages()
    if unknown := [name for name in config.shapes if name not in found]:
        raise UserError(f"--shapes has '{unknown[0]}', which is none: choose among {', '.join(found)}")
    rows = []
    for name in config.shapes or tuple(found):
        say(f"planning {name}")
        plan = make_cpu_plan(found[name])
        say(f"measuring {name}")
        row = Row(
            name=name,
            parameters=plan.parameters["total"],
            planned_bytes=plan.memory.total,
            bytes=_in_process(found[name], "memory", 2),
            planned_seconds=plan.step_seconds,
            seconds=_in_process(found[name], "time", config.repetitions),
        )
        say(f"{name}: memory {row.memory_error:+.1%}, time {row.time_error:+.1%}")
        rows.append(row)
    return rows


def table(rows: list[Row]) -> Table:
    """Shapes down."""
    result = Table(title="Plan beside measurement, one CPU process", title_justify="left", box=None, pad_edge=False)
    result.add_column("shape", no_wrap=True)
    for name in ("parameters", "GB plan", "GB", "error", "s plan", "s", "error"):
        result.add_column(name, justify="right")
    for row in rows:
        result.add_row(
            row.name,
            f"{row.parameters / 1e6:.1f} M",
            f"{row.planned_bytes / 1e9:.3f}",
            f"{row.bytes / 1e9:.3f}",
            f"{row.memory_error:+.0%}",
            f"{row.planned_seconds:.3f}",
            f"{row.seconds:.3f}",
            f"{row.time_error:+.0%}",
        )
    return result


def lines(rows: list[Row]) -> list[str]:
    """What the table says, and what it is worth."""
    memory = sum(abs(row.memory_error) <= MEMORY_WITHIN for row in rows)
    seconds = sum(abs(row.time_error) <= TIME_WITHIN for row in rows)
    threads = torch.get_num_threads()
    clock = "the processor's time" if threads == 1 else "the clock's time"
    return [
        f"Memory within {MEMORY_WITHIN:.0%} for {memory} of {len(rows)}, time within {TIME_WITHIN:.0%} for {seconds}.",
        f"Threads: {threads}, {clock}; load when it ended: {os.getloadavg()[0]:.1f}.",
    ]


def to_values(rows: list[Row]) -> dict[str, Any]:
    """The same for scripts."""
    names = ("parameters", "planned_bytes", "bytes", "memory_error", "planned_seconds", "seconds", "time_error")
    return {
        "threads": torch.get_num_threads(),
        "shapes": {row.name: {name: getattr(row, name) for name in names} for row in rows},
    }


def stages() -> dict[str, StageConfig]:
    """From the tiny recipe to 60 million parameters: every connector, both MLPs, experts, both precisions."""
    small = tiny().stage("pretrain").replace(init={})
    swiglu = DecoderConfig(vocab_size=8192, mlp="swiglu")
    encoder = ImageEncoderConfig(image_size=112, patch_size=14, dim=256, num_layers=4, num_heads=4, mlp_dim=1024)
    larger = encoder.replace(dim=384, num_layers=8, num_heads=6, mlp_dim=1536, class_token=True, mlp="quick_gelu")
    text = MM1Config(decoder=swiglu.replace(dim=384, num_layers=6, num_heads=6, mlp_dim=1024))
    pooled = MM1Config(
        decoder=swiglu.replace(dim=448, num_layers=6, num_heads=7, mlp_dim=1152),
        image_encoder=encoder,
        connector=AvgPoolConfig(num_image_tokens=16),
    )
    abstracted = MM1Config(
        decoder=swiglu.replace(dim=512, num_layers=8, num_heads=8, num_kv_heads=2, mlp_dim=1408, tied_embeddings=False),
        image_encoder=larger,
        connector=CAbstractorConfig(num_image_tokens=16, hidden_dim=384, depth=1),
    )
    sparse = MM1Config(
        decoder=swiglu.replace(dim=320, num_layers=4, num_heads=5, mlp_dim=832, moe=MoEConfig(num_experts=8)),
        image_encoder=encoder,
        connector=AttentionPoolConfig(num_image_tokens=16),
    )
    return {
        "tiny": small,
        "text-14m": _stage(text, rows=4, seq_len=512),
        "avg-pool-21m": _stage(pooled, rows=4, seq_len=256, max_images=4),
        "experts-23m": _stage(sparse, rows=4, seq_len=256, max_images=2),
        "abstractor-50m": _stage(abstracted, rows=8, seq_len=256, max_images=4, microbatch_rows=4),
        "text-14m-fp32": _stage(text, rows=4, seq_len=512).replace(precision="fp32"),
    }


def _stage(model: MM1Config, rows: int, seq_len: int, max_images: int = 1, **changes: Any) -> StageConfig:
    source = GroupConfig(name="full", weight=1.0, sources=(SourceConfig(name="full"),))
    size = model.image_encoder.image_size if model.image_encoder else 112
    data = DataConfig(
        mixture=MixtureConfig(groups=(source,)), seq_len=seq_len, rows=rows, max_images=max_images, image_size=size
    )
    return StageConfig(model=model, data=data, optimizer=OptimizerConfig(), steps=1000, **changes)


def _in_process(stage: StageConfig, what: str, steps: int) -> float:
    """Runs `measure` in a process of its own, which prints the figure last."""
    code = "import sys; from mm1.bench.step import measure; measure(sys.argv[1], int(sys.argv[2]), sys.stdin.read())"
    done = subprocess.run(
        [sys.executable, "-c", code, what, str(steps)],
        env=environment(**(GIVES_BACK if what == "memory" else {})),
        input=json.dumps(to_json(stage)),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[-1])


def measure(what: str, steps: int, stage_json: str) -> None:
    """Prints the bytes by which this process grew, or the seconds of a median step."""
    stage = from_json(StageConfig, json.loads(stage_json))
    short = stage.data.replace(rows=1, seq_len=stage.data.seq_len // 2)
    _train(stage.replace(data=short, microbatch_rows=None), 1)  # so that code and kernels are there
    gc.collect()
    _forget_peak()
    before = _status("VmRSS")
    taken = _train(stage, steps + 1)
    print(_status("VmHWM") - before if what == "memory" else statistics.median(taken[1:]))


def _train(stage: StageConfig, steps: int) -> list[float]:
    """Seconds of each step, as the training loop takes them."""
    world = World()
    state = initial_state(stage, {}, world)
    loop = loop_config(stage, world)
    batch, objective = full_batch(stage, stage.data.rows), build_objective(stage.objective, stage.loss)
    taken = []
    with deterministic():
        for number in range(steps):
            began = now()
            train(state, objective, iter([batch]), replace(loop, steps=number + 1))
            taken.append(now() - began)
    return taken


def _forget_peak() -> None:
    """Lets VmHWM begin at what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def _status(key: str) -> int:
    """Bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
    return int(line.split()[1]) * 1024
