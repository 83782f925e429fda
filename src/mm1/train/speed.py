"""What share of the machine training uses (MFU): the operations that the model needs, over what the devices could do.

    speed = speed_of(config, model, world)
    speed.flops(totals)         # {"image_encoder": …, "connector": …, "decoder": …, "output": …, "total": …}
    speed.mfu(flops, seconds)   # 0.43; None where the devices' peak is not known

Counted by real lengths: a document attends to itself alone, logits are those of targets, and padding is not work; nor
is what is computed a second time to save memory. What a frozen part does in the backward is less, and counted as less.
Knows nothing of how lengths are gathered, nor of where the figures go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from mm1.distributed.mesh import World
from mm1.models.counts import flops_forward
from mm1.models.mm1 import MM1Config
from mm1.train.costs import training_factors
from mm1.train.parallelize import resolve_precision
from mm1.train.planning.hardware import HARDWARE, Hardware
from mm1.train.stage import StageConfig

SLOWER_BOARDS = frozenset({"pcie", "nvl", "mig"})
"""Words in the names of boards, and parts of boards, that do not reach the peaks of the table, which are SXM's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How operations are counted, and what they are compared with."""

    model: MM1Config | None
    """None: of such a model no operations are counted."""
    factors: Mapping[str, int]
    """By part, how many forwards its forward and backward cost."""
    peak: float | None
    """Operations a second of all ranks together; None: not known."""
    why: str
    """Why there is no MFU, in a sentence; "" where there is one."""

    def flops(self, totals: Mapping[str, float]) -> dict[str, int] | None:
        """Of what `totals` (state.Totals, or a difference of two) counted, by part, and "total"."""
        if self.model is None:
            return None
        forward = flops_forward(
            self.model,
            tokens=int(totals["tokens"]),
            images=int(totals["images"]),
            attended_pairs=int(totals["attended_pairs"]),
            targets=int(totals["logits"]),
        )
        parts = {part: factor * forward[part] for part, factor in self.factors.items()}
        return {**parts, "total": sum(parts.values())}

    def mfu(self, flops: float, seconds: float) -> float | None:
        """The share of the peak."""
        return None if self.peak is None else flops / (seconds * self.peak)


UNKNOWN = Speed(model=None, factors={}, peak=None, why="no operations are counted")


def speed_of(config: StageConfig, model: nn.Module, world: World) -> Speed:
    """The speed of a stage whose frozen parts take no gradient any more."""
    if not isinstance(config.model, MM1Config):
        why = f"no MFU is told: operations are counted for model.kind=mm1, not for {config.model.kind}"
        return Speed(model=None, factors={}, peak=None, why=why)
    hardware = None
    name = "a CPU"
    if world.device.type == "cuda":
        hardware = hardware_named(name := torch.cuda.get_device_name(world.device))
    factors = training_factors(model)
    if hardware is None:
        why = f"FLOP/s are told instead of MFU: the peak of {name} is in no table"
        return Speed(model=config.model, factors=factors, peak=None, why=why)
    bf16 = resolve_precision(config.precision, world.device) == "bf16"
    peak = hardware.products if bf16 else hardware.float32_products
    return Speed(model=config.model, factors=factors, peak=peak * world.size, why="")


def hardware_named(name: str) -> Hardware | None:
    """The device that CUDA calls `name`, such as "NVIDIA H100 80GB HBM3"; None if its peak is in no table."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    found = next((HARDWARE[word] for word in words if word in HARDWARE), None)
    if found is None or "mig" in words:
        return None
    # Of an A100 all boards reach the same peak; of later ones those that draw less power are slower.
    return found if found.name == "a100" or not SLOWER_BOARDS.intersection(words) else None
