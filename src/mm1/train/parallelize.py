"""The one place where models meet processes and number formats.

    shard(model, world)                  # FSDP2: the image encoder one unit, each decoder block one, the rest one
    with autocast(precision, device):    # bfloat16 where the hardware has it; weights stay float32
        losses = objective(model, batch)

Models are single-device code and stay so. Knows the parts of MM1 and of CLIP by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from mm1.config import UserError
from mm1.distributed.mesh import World

Precision: TypeAlias = Literal["auto", "bf16", "fp32"]


def resolve_precision(precision: Precision, device: torch.device) -> Literal["bf16", "fp32"]:
    """What "auto" means on `device`: bf16 on CUDA and on CPUs with AVX-512 bf16 instructions, fp32 elsewhere.

    Raises:
        UserError: bf16 is asked of a CPU without those instructions, where it would be many times slower than fp32.
    """
    fast = device.type == "cuda" or bool(torch.cpu._is_avx512_bf16_supported())
    if precision == "bf16" and not fast:
        raise UserError("precision=bf16 needs CUDA or a CPU with avx512_bf16, which this one has not: use auto or fp32")
    return "bf16" if fast and precision != "fp32" else "fp32"


def autocast(precision: Literal["bf16", "fp32"], device: torch.device) -> AbstractContextManager[None]:
    """Matrix products in bfloat16, parameters and everything delicate in float32; nothing at all for "fp32"."""
    context: AbstractContextManager[None] = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")
    return context


def shard(model: nn.Module, world: World) -> None:
    """Shards parameters, gradients and optimizer state over all ranks, in place; nothing in a run of one process.

    Gradients come back summed over the ranks, not averaged: the loop divides by the global number of targets.
    Sharded products are gathered in float32, so that the arithmetic is that of one process.
    """
    if world.size == 1:
        return
    mesh = world.mesh()
    for unit in _units(model):
        fully_shard(unit, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
    if (encoder := getattr(model, "image_encoder", None)) is not None:
        register_fsdp_forward_method(encoder, "pool")


def _units(model: nn.Module) -> list[nn.Module]:
    """Submodules that are gathered one at a time."""
    encoder = getattr(model, "image_encoder", None)
    decoders = [getattr(model, name) for name in ("decoder", "text_tower") if hasattr(model, name)]
    return ([] if encoder is None else [encoder]) + [block for decoder in decoders for block in decoder.blocks]


def gathered(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`tensors` with sharded ones gathered on every rank; a collective when there are many ranks."""
    return {name: tensor.full_tensor() if isinstance(tensor, DTensor) else tensor for name, tensor in tensors.items()}
