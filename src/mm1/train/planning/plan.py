"""A plan: what a stage takes on so many devices, in its own layout or in the fastest that fits.

    plan = make_plan(recipe.stage("pretrain"), devices=64, gpu="h100")
    plan.fits, plan.step_seconds, plan.days, plan.parallel, plan.microbatch_rows

Every row is taken to be full, as in `costs.py`: real data has fewer images and shorter documents, and takes less. All
assumptions of speed are in `hardware.SHARES`. Knows nothing of recipes.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from mm1.config import UserError, flatten, to_json
from mm1.models.counts import TRAINING_FACTOR
from mm1.models.mm1 import MM1Config
from mm1.train.costs import flops_per_sequence, images_per_sequence, parameters, tokens_per_step
from mm1.train.layout import ParallelConfig
from mm1.train.planning.candidates import candidates
from mm1.train.planning.cut import cut
from mm1.train.planning.hardware import SHARES, Hardware, find
from mm1.train.planning.memory import Memory, memory
from mm1.train.planning.pieces import FLOAT32, Piece, TraceConfig
from mm1.train.planning.timing import StepTime, computed_again, step_time
from mm1.train.planning.traffic import Traffic, traffic
from mm1.train.stage import StageConfig

GIGA = 1e9
SECONDS_A_DAY = 86_400
AS_FAST = 1.02
"""Steps that take so much longer than the fastest are taken for as fast."""
ROOMY = 0.95
"""Of the data sheet's memory, what a layout may take that has room to spare: of the 85 GB of an "80 GB" card 90 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a stage takes; bytes and operations of one device where nothing else is said."""

    parameters: dict[str, int]
    """By part, as `costs.parameters`, and "trainable"."""
    flops: dict[str, int]
    """Of training on one full sequence, by part, and "total"."""
    gpu: str
    asked: int
    """Devices asked for."""
    devices: int
    """Of them, those that share the rows of a batch."""
    capacity: float
    """Bytes of a device."""
    parallel: ParallelConfig
    """How the stage is spread over these, every number said."""
    microbatch_rows: int
    accumulation: int
    memory: Memory
    traffic: Traffic
    time: StepTime
    recomputed_flops: float
    """Of one sequence, made a second time; no part of `flops`, nor of the MFU."""
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
        return in_all / (self.step_seconds * self.peak_flops * self.devices)

    @property
    def overrides(self) -> list[str]:
        """The stage's keys and values, as they are typed, with which it trains in this layout."""
        usual = flatten(ParallelConfig())
        own = {f"parallel.{key}": one for key, one in flatten(self.parallel).items() if one != usual[key]}
        values = {"microbatch_rows": self.microbatch_rows, **own}
        return [f"{key}={one if isinstance(one, str) else json.dumps(one)}" for key, one in values.items()]

    def to_json(self) -> dict[str, Any]:
        """The keys that scripts rely on; what else is known stands inside `layout`."""
        return {
            "parameters": self.parameters,
            "flops_per_token": self.flops["total"] / self.seq_len,
            "memory_per_gpu_gb": self.memory.total / GIGA,
            "step_seconds": self.step_seconds,
            "days": self.days,
            "layout": {
                **to_json(self.parallel),
                "microbatch_rows": self.microbatch_rows,
                "accumulation": self.accumulation,
                "overrides": self.overrides,
                "gpus_at_work": self.devices,
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


def make_plan(stage: StageConfig, devices: int, gpu: str = "h100", *, mfu: float | None = None) -> Plan:
    """The plan of `stage` as it says it is to be spread; where it leaves that open, of the fastest layout that fits.

    A stage says so if anything in its `parallel` is no default: then that layout is planned and no other. Otherwise
    layouts are searched, with the stage's `microbatch_rows` if it has some. Where none fits, the plan is of that which
    misses by the least.

    Args:
        stage: what is trained.
        devices: how many.
        gpu: which, by its name in `HARDWARE`.
        mfu: the share of the peak that computing reaches, in place of what is assumed of each kernel.

    Raises:
        UserError: an unknown device, a layout that has no place for all devices, rows or experts, a stage that is no
            next-token stage.
    """
    planner = Planner(stage, find(gpu), devices, mfu)
    if not planner.searches:
        return planner.plan(stage, devices)
    plans: list[Plan] = []
    for _, same_rows in groupby(candidates(stage, planner.at_work), lambda one: one.microbatch_rows):
        plans += (found := [planner.plan(one, planner.at_work) for one in same_rows])
        if all(one.memory.total > one.capacity for one in found):
            break  # more rows take more
    return _best(plans)


def _best(plans: list[Plan]) -> Plan:
    """The fastest whose memory suffices, or that which takes the least memory.

    Of those as fast, one that leaves room for what a plan may be wrong by, and of these the one that sends least.
    """
    fitting = [one for one in plans if one.memory.total <= one.capacity]
    if not fitting:
        return min(plans, key=lambda one: one.memory.total)
    fastest = min(one.step_seconds for one in fitting)
    as_fast = [one for one in fitting if one.step_seconds <= fastest * AS_FAST]

    def worth(one: Plan) -> tuple[bool, float, float]:
        return one.memory.total > ROOMY * one.capacity, sum(one.traffic.seconds.values()), one.memory.total

    return min(as_fast, key=worth)


class Planner:
    """Plans of one stage on one kind of device."""

    fused_attention = True

    def __init__(self, stage: StageConfig, hardware: Hardware, asked: int, mfu: float | None = None) -> None:
        """`asked` is the number of devices; not all of them may be able to share the rows of a batch."""
        if not isinstance(stage.model, MM1Config):
            raise UserError(
                f"a plan is for stages that train model.kind=mm1, not {stage.model.kind}: choose another --stage"
            )
        if asked < 1:
            raise UserError(f"--gpus is {asked}: give 1 or more")
        self.stage, self.hardware, self._asked, self._mfu = stage, hardware, asked, mfu
        self.searches = stage.parallel == ParallelConfig()
        self.at_work = max(one for one in range(1, asked + 1) if stage.data.rows % one == 0)
        """Devices that can share the rows."""
        self.bf16 = stage.precision != "fp32"
        self._parameters = parameters(stage)
        self._flops = flops_per_sequence(stage)

    @functools.cache  # noqa: B019 (a planner lives as long as its plans are made)
    def _pieces(self, rows: int, trace: TraceConfig) -> list[Piece]:
        return cut(self.stage, rows, trace)

    def reserved(self, needed: Memory) -> float:
        """Bytes that the device's context takes, and that its allocator loses."""
        return SHARES.context + SHARES.fragments * needed.transient

    def time(self, stage: StageConfig, devices: int, pieces: list[Piece], travels: Traffic) -> StepTime:
        """Of a step."""
        return step_time(stage, pieces, devices, travels, self.hardware, bf16=self.bf16, mfu=self._mfu)

    def plan(self, stage: StageConfig, devices: int) -> Plan:
        """Of the planner's stage on `devices`, spread as `stage` says.

        Raises:
            UserError: there is no such layout of so many.
        """
        stage.check_layout(devices)
        rows, parallel = stage.rows_at_once(devices), stage.parallel
        accumulation = stage.data.rows // devices // rows
        halved = self.bf16 and parallel.gather_precision == "auto" and devices > 1
        trace = TraceConfig(bf16=self.bf16, working_copy=halved, fused_attention=self.fused_attention)
        pieces, batch = self._pieces(rows, trace), batch_bytes(stage, rows)
        needed = memory(pieces, parallel, devices, trace, accumulation=accumulation, batch=batch)
        needed.parts["reserve"] = self.reserved(needed)
        trainable = sum(piece.trained * piece.repeats for piece in pieces)
        if stage.ema is not None:
            needed.parts["average"] = FLOAT32 * trainable / parallel.shards(devices)
        travels = traffic(pieces, parallel, devices, trace, accumulation=accumulation, hardware=self.hardware)
        return Plan(
            parameters={**self._parameters, "trainable": trainable},
            flops=self._flops,
            gpu=self.hardware.name,
            asked=self._asked,
            devices=devices,
            capacity=self.hardware.memory,
            parallel=parallel.replace(shard=parallel.shards(devices)),
            microbatch_rows=rows,
            accumulation=accumulation,
            memory=needed,
            traffic=travels,
            time=self.time(stage, devices, pieces, travels),
            recomputed_flops=sum(
                self._flops[part] / TRAINING_FACTOR * share for part, share in computed_again(pieces, parallel).items()
            ),
            tokens_per_step=tokens_per_step(stage),
            steps=stage.steps,
            seq_len=stage.data.seq_len,
            images_per_sequence=images_per_sequence(stage),
            peak_flops=self.hardware.products if self.bf16 else self.hardware.float32_products,
            miss=self._miss(devices, needed),
        )

    def _miss(self, devices: int, needed: Memory) -> str:
        rows, asked, name = self.stage.data.rows, self._asked, self.hardware.name
        reasons = []
        if devices < asked:
            reasons.append(
                f"the {rows} data.rows of a step cannot be shared equally by {asked} GPUs: take {devices} GPUs, or set "
                f"data.rows to a multiple of {asked}, which is another batch size"
            )
        if needed.total > self.hardware.memory:
            which = "the layout that needs least" if self.searches else "this layout"
            what = "take more GPUs, or ones with more memory" + ("" if self.searches else ", or leave parallel.* out")
            sizes = f"{needed.total / GIGA:.3g} GB of a {name}'s {self.hardware.memory / GIGA:.3g}"
            reasons.append(f"{which} takes {sizes}: {what}")
        return "; and ".join(reasons)


def batch_bytes(stage: StageConfig, rows: int) -> int:
    """Of a batch: seven integers a position, the pixels of its images."""
    pixels = 3 * stage.data.image_size**2 * images_per_sequence(stage)
    return rows * (7 * 8 * stage.data.seq_len + pixels)
