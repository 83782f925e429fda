"""A plan: what a stage takes on so many devices, and in which layout. A value; `planner.py` makes it.

    plan.fits, plan.step_seconds, plan.days, plan.parallel, plan.microbatch_rows
    plan.overrides                               # what is typed, so that the stage trains in this layout

Knows nothing of how its figures are found.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mm1.config import flatten, to_json
from mm1.train.layout import ParallelConfig
from mm1.train.planning.memory import Memory
from mm1.train.planning.timing import StepTime
from mm1.train.planning.traffic import Traffic

GIGA = 1e9
SECONDS_A_DAY = 86_400


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
    usable: float
    """Of these, what a plan may take."""
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
                "memory_usable_gb": self.usable / GIGA,
                "memory_gb": {name: size / GIGA for name, size in self.memory.parts.items()},
                "activations_gb": {name: size / GIGA for name, size in self.memory.activations.items()},
                "seconds": self.time.seconds,
                "communication_gb": {name: size / GIGA for name, size in self.traffic.bytes.items()},
                "communication_calls": self.traffic.calls,
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
