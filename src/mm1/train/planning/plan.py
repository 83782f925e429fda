"""A plan: what a stage takes on so many devices, and the fastest layout that fits.

    plan = make_plan(recipe.stage("pretrain"), devices=64, gpu="h100")
    plan.fits, plan.step_seconds, plan.days, plan.layout

Every row is taken to be full, as in `costs.py`: real data has fewer images and shorter documents, and takes less. All
assumptions of speed are in `hardware.SHARES`. Knows nothing of recipes.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mm1.config import UserError
from mm1.models.mm1 import MM1Config
from mm1.train.costs import flops_per_sequence, images_per_sequence, parameters, tokens_per_step
from mm1.train.planning.hardware import SHARES, Hardware, find
from mm1.train.planning.layout import Layout, candidates
from mm1.train.planning.memory import FLOAT32, Memory, memory
from mm1.train.planning.pieces import PARTS, Piece, TraceConfig, pieces
from mm1.train.planning.timing import StepTime, step_time
from mm1.train.planning.traffic import Traffic, traffic
from mm1.train.stage import StageConfig

GIGA = 1e9
SECONDS_A_DAY = 86_400
AS_FAST = 1.02
"""Steps that take so much longer than the fastest are taken for as fast; the layout that sends least is chosen."""
MOST_ROWS = 64
"""Of a microbatch: beyond, products are no faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a stage takes; bytes and operations of one device where nothing else is said."""

    parameters: dict[str, int]
    """By part, as `costs.parameters`, and "trainable"."""
    flops: dict[str, int]
    """Of training on one full sequence, by part, and "total"."""
    gpu: str
    devices: int
    """Asked for."""
    capacity: float
    """Bytes of a device."""
    layout: Layout
    accumulation: int
    memory: Memory
    traffic: Traffic
    time: StepTime
    recomputed_flops: float
    """Of one sequence; no part of `flops`, nor of the MFU."""
    tokens_per_step: int
    steps: int
    seq_len: int
    images_per_sequence: int
    peak_flops: float
    """A second, of one device."""
    miss: str
    """Why it does not fit, in a sentence; "" where it does."""

    @property
    def fits(self) -> bool:
        return not self.miss

    @property
    def step_seconds(self) -> float:
        return self.time.total

    @property
    def days(self) -> float:
        return self.steps * self.step_seconds / SECONDS_A_DAY

    @property
    def tokens_per_second(self) -> float:
        """Of all devices; positions, images' places included."""
        return self.tokens_per_step / self.step_seconds

    @property
    def mfu(self) -> float:
        """Operations of all parts by the peak of the devices that work."""
        in_all = self.flops["total"] * self.tokens_per_step / self.seq_len
        return in_all / (self.step_seconds * self.peak_flops * self.layout.devices)

    def to_json(self) -> dict[str, Any]:
        """The keys that scripts rely on; what else is known stands inside `layout`."""
        return {
            "parameters": self.parameters,
            "flops_per_token": self.flops["total"] / self.seq_len,
            "memory_per_gpu_gb": self.memory.total / GIGA,
            "step_seconds": self.step_seconds,
            "days": self.days,
            "layout": {
                **self.layout.model_dump(mode="json"),
                "accumulation": self.accumulation,
                "gpus_at_work": self.layout.devices,
                "why_not": self.miss,
                "memory_gb": {name: size / GIGA for name, size in self.memory.parts.items()},
                "activations_gb": {name: size / GIGA for name, size in self.memory.activations.items()},
                "seconds": self.time.seconds,
                "communication_gb": {name: size / GIGA for name, size in self.traffic.bytes.items()},
                "communication_seconds": self.traffic.seconds,
                "flops_per_sequence": self.flops,
                "recomputed_flops_per_sequence": self.recomputed_flops,
                "tokens_per_step": self.tokens_per_step,
                "tokens": self.tokens_per_step * self.steps,
                "tokens_per_second": self.tokens_per_second,
                "mfu": self.mfu,
            },
            "fits": self.fits,
        }


def make_plan(
    stage: StageConfig, devices: int, gpu: str = "h100", *, layout: Layout | None = None, mfu: float | None = None
) -> Plan:
    """The plan of `layout`, or of the fastest layout that fits, or of that which misses by the least.

    Args:
        stage: what is trained.
        devices: how many.
        gpu: which, by its name in `HARDWARE`.
        layout: the only one to look at.
        mfu: the share of the peak that computing reaches, in place of what is assumed of each kernel.

    Raises:
        UserError: an unknown device, a layout that is none, a stage that is no next-token stage.
    """
    planner = Planner(stage, find(gpu), devices, mfu)
    if layout is not None:
        layout.check(devices, stage.data.rows, planner.experts)
        return planner.plan(layout)
    plans: list[Plan] = []
    for _, same_rows in groupby(
        candidates(planner.at_work, stage.data.rows, planner.experts, MOST_ROWS), lambda one: one.microbatch_rows
    ):
        plans += (found := [planner.plan(one) for one in same_rows])
        if all(one.memory.total > one.capacity for one in found):
            break  # more rows take more
    fitting = [one for one in plans if one.fits]
    if fitting:
        fastest = min(one.step_seconds for one in fitting)
        as_fast = [one for one in fitting if one.step_seconds <= fastest * AS_FAST]
        return min(as_fast, key=lambda one: (sum(one.traffic.seconds.values()), one.memory.total))
    if planner.at_work < devices:  # all of them miss for that reason
        plans = [one for one in plans if one.memory.total <= one.capacity] or plans
        return min(plans, key=lambda one: (one.memory.total > one.capacity, one.step_seconds))
    return min(plans, key=lambda one: one.memory.total)


class Planner:
    """Plans of one stage on one kind of device."""

    def __init__(self, stage: StageConfig, hardware: Hardware, devices: int, mfu: float | None = None) -> None:
        if not isinstance(stage.model, MM1Config):
            raise UserError(f"a plan is for stages that train model.kind=mm1, not {stage.model.kind}: choose another")
        if devices < 1:
            raise UserError(f"--gpus is {devices}: give 1 or more")
        self.stage, self.hardware, self._devices, self._mfu = stage, hardware, devices, mfu
        self._parameters = parameters(stage)
        self._flops = flops_per_sequence(stage)
        self.trace = TraceConfig(bf16=stage.precision != "fp32", working_copy=devices > 1, fused_attention=True)
        moe = stage.model.decoder.moe
        self.experts = 0 if moe is None else moe.num_experts
        self.at_work = max(one for one in range(1, devices + 1) if stage.data.rows % one == 0 and one <= devices)
        """Devices that can share the rows of a batch."""

    @functools.cache  # noqa: B019 (a planner lives as long as its plans are made)
    def _pieces(self, rows: int) -> list[Piece]:
        return pieces(self.stage, rows, self.trace)

    def reserved(self, needed: Memory) -> float:
        """Bytes that the device's context takes, and that its allocator loses."""
        return SHARES.context + SHARES.fragments * needed.transient

    def time(self, found: list[Piece], layout: Layout, travels: Traffic) -> StepTime:
        """Of a step."""
        return step_time(self.stage, found, layout, travels, self.hardware, bf16=self.trace.bf16, mfu=self._mfu)

    def plan(self, layout: Layout) -> Plan:
        """Of one layout."""
        stage, hardware = self.stage, self.hardware
        found = self._pieces(layout.microbatch_rows)
        accumulation = layout.accumulation(stage.data.rows)
        needed = memory(found, layout, accumulation, batch_bytes(stage, layout.microbatch_rows))
        needed.parts["reserve"] = self.reserved(needed)
        if stage.ema is not None:
            needed.parts["average"] = FLOAT32 * sum(one.trained * one.repeats for one in found) / layout.shard
        travels = traffic(found, layout, accumulation, hardware)
        trainable = sum(piece.trained * piece.repeats for piece in found)
        return Plan(
            parameters={**self._parameters, "trainable": trainable},
            flops=self._flops,
            gpu=hardware.name,
            devices=self._devices,
            capacity=hardware.memory,
            layout=layout,
            accumulation=accumulation,
            memory=needed,
            traffic=travels,
            time=self.time(found, layout, travels),
            recomputed_flops=recomputed_flops(found, layout, self._flops),
            tokens_per_step=tokens_per_step(stage),
            steps=stage.steps,
            seq_len=stage.data.seq_len,
            images_per_sequence=images_per_sequence(stage),
            peak_flops=hardware.products if self.trace.bf16 else hardware.float32_products,
            miss=self._miss(layout, needed),
        )

    def _miss(self, layout: Layout, needed: Memory) -> str:
        rows, asked = self.stage.data.rows, self._devices
        if layout.devices < asked:
            return (
                f"the {rows} data.rows of a step cannot be shared equally by {asked} GPUs: take {layout.devices} GPUs, "
                f"or set data.rows to a multiple of {asked}, which is another batch size"
            )
        if needed.total <= self.hardware.memory:
            return ""
        return (
            f"the layout that needs least takes {needed.total / GIGA:.0f} GB of a {self.hardware.name}'s "
            f"{self.hardware.memory / GIGA:.0f}: take more GPUs, or ones with more memory"
        )


def recomputed_flops(found: list[Piece], layout: Layout, flops: dict[str, int]) -> float:
    """Operations of one sequence that blocks do a second time."""
    if layout.activation_checkpointing != "full":
        return 0.0
    return sum(flops[part] / 3 for part in PARTS if any(one.is_block and one.part == part for one in found))


def batch_bytes(stage: StageConfig, rows: int) -> int:
    """Of a batch: seven integers a position, the pixels of its images."""
    pixels = 3 * stage.data.image_size**2 * images_per_sequence(stage)
    return rows * (7 * 8 * stage.data.seq_len + pixels)
